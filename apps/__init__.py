"""Programs over the library: `python -m apps.train`."""

import logging
import os

# TensorFlow and its converter write many notes, and report a missing GPU as an error. Python's
# warnings are still shown.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow warns because several networks are traced, which is intended.
logging.getLogger("tensorflow").setLevel(logging.ERROR)
