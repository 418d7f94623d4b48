"""A Kubernetes API server for tests: stateful, over real HTTP, with a program of faults.

It keeps what the API promises and what clients trip over; its kubelet runs the commands of
containers as local processes. ``cluster.FakeCluster`` is the way in.
"""
