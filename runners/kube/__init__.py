"""The parts of the runner ``kubernetes``, one subject to a module."""
