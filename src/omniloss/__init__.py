"""Loss functions for Python arrays.

`omniloss.losses` speaks Keras, `omniloss.nn` PyTorch; `value_and_grad` and `partial` take any loss with its own arguments.
"""

from omniloss.configuration import config
from omniloss.derivatives import partial, value_and_grad
from omniloss.native import get_num_threads, set_num_threads, show_config
from omniloss.reduction import Partial

__all__ = [
    "Partial",
    "__version__",
    "config",
    "get_num_threads",
    "losses",
    "nn",
    "partial",
    "set_num_threads",
    "show_config",
    "utils",
    "value_and_grad",
]

__version__ = "0.1.0"

from omniloss import losses, nn, utils
