"""Programs over the library: `python -m apps.train`."""

import os

# TensorFlow's converter writes pages of notes; warnings of Python stay.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
