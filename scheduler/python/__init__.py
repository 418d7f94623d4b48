"""The doors for Python: loop, service, developer."""
