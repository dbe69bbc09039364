"""The Keras dialect: the losses of tf.keras 2.x and of Keras 3 as functions and classes, with Keras 3's arguments and values.

A function of ``(y_true, y_pred)`` gives one loss for each row, a loss object (`Loss`) reduces them.

Arrays may be lists, NumPy arrays of bool, integer or float dtypes, or whatever converts to these. The
predictions' dtype decides: lists and integers become ``omniloss.config.floatx()``, half precision is
computed in float32 and rounded once, labels and weights never promote. Targets have the predictions' shape; where the
ranks differ by one, a last axis of size 1 is added or taken away, and nothing else is broadcast. An array that
does not fit, a number outside of the range that a loss names, or an array that is complex, masked or of objects
raises a ``ValueError`` or ``TypeError`` that names the argument and the value, before anything is computed; NaN
goes in and out. What rows of weight 0 or masked rows hold is not looked at.

Names are looked up by `get`, and losses are written to and read from JSON by `serialize` and `deserialize`.
"""

from omniloss.losses.base import Loss, LossFunctionWrapper
from omniloss.losses.binary import (
    BCE,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    bce,
    binary_crossentropy,
    binary_focal_crossentropy,
)
from omniloss.losses.compiled import CompiledLoss, compile
from omniloss.losses.crossentropy import (
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    SparseCategoricalCrossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    sparse_categorical_crossentropy,
)
from omniloss.losses.divergence import (
    KLD,
    KLDivergence,
    Poisson,
    kl_divergence,
    kld,
    kullback_leibler_divergence,
    poisson,
)
from omniloss.losses.generalized import (
    CategoricalGeneralizedCrossEntropy,
    categorical_generalized_cross_entropy,
)
from omniloss.losses.margin import (
    CategoricalHinge,
    Hinge,
    SquaredHinge,
    categorical_hinge,
    hinge,
    squared_hinge,
)
from omniloss.losses.overlap import Dice, Tversky, dice, tversky
from omniloss.losses.ranking import Circle, circle
from omniloss.losses.registry import deserialize, get, serialize
from omniloss.losses.regression import (
    MAE,
    MAPE,
    MSE,
    MSLE,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    huber,
    log_cosh,
    logcosh,
    mae,
    mape,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    mse,
    msle,
)
from omniloss.losses.sequence import CTC, ctc
from omniloss.losses.similarity import (
    CosineSimilarity,
    cosine,
    cosine_proximity,
    cosine_similarity,
)
from omniloss.reduction import Reduction

__all__ = [
    "BCE",
    "CTC",
    "KLD",
    "MAE",
    "MAPE",
    "MSE",
    "MSLE",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "Circle",
    "CompiledLoss",
    "CosineSimilarity",
    "Dice",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "LossFunctionWrapper",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "Reduction",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Tversky",
    "bce",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "circle",
    "compile",
    "cosine",
    "cosine_proximity",
    "cosine_similarity",
    "ctc",
    "deserialize",
    "dice",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "kld",
    "kullback_leibler_divergence",
    "log_cosh",
    "logcosh",
    "mae",
    "mape",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "mse",
    "msle",
    "poisson",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "tversky",
]
