"""The reference is Keras on its NumPy backend, which has to be chosen before Keras is imported."""

import os

os.environ["KERAS_BACKEND"] = "numpy"
