"""When to stop: the whole experiment (``criteria``). Pure."""
