"""The service door over HTTP: a small JSON API, described by OpenAPI."""
