"""What is kept for good: the schema, the store, the lease, migrations."""
