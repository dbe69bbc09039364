"""Keras's own numbers are those of its NumPy backend, which has to be chosen before Keras is imported."""

import os

os.environ["KERAS_BACKEND"] = "numpy"
