"""Where jobs run: one module per backend, loaded by entry point (group ``schedd.runners``)."""
