"""A simulated world for the real core: time, store, backend, generator, people, and faults."""
