"""How results are read: one module per fetcher, loaded by entry point (group ``schedd.metrics``)."""
