"""Programs over the library: `python -m apps.train`."""

import logging
import os

# TensorFlow and its converter write pages of notes, and that there is no GPU as an error; warnings
# of Python stay.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Several networks are traced by design, which TensorFlow warns of.
logging.getLogger("tensorflow").setLevel(logging.ERROR)
