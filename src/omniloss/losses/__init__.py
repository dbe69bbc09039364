"""The Keras dialect: every loss as a function and as a class."""

from omniloss.losses.base import Loss, LossFunctionWrapper
from omniloss.losses.regression import Huber, MeanSquaredError, huber, mean_squared_error
from omniloss.reduction import Reduction
