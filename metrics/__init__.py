"""How results are read: one module a fetcher, loaded by entry point (``schedd.metrics``)."""
