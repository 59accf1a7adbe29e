"""The parts of `python -m apps.train`."""
