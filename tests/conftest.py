"""Settings of the whole test run."""

import os

# Keras looks for TensorFlow unless it is told; it reads this when it is first imported.
os.environ.setdefault("KERAS_BACKEND", "numpy")
