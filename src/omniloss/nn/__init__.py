"""The PyTorch dialect: the losses of `torch.nn` as objects, and as functions in `functional`.

Names, arguments, defaults and values are torch's; where a line of this page says otherwise, it is on purpose.

Arrays may be lists, NumPy arrays or those of an array library, torch's for one. The input's dtype decides:
the value has it, half precision is computed in float32 and rounded once, targets and weights never promote it, lists become
``omniloss.config.floatx()``, and an input of integers is refused. Where input and target are both tensors of torch, the value's dtype is the one that
torch gives: of most losses that to which both are promoted, also beside an input of integers, and `BCELoss` refuses two dtypes of floats.
Weights follow the input to its device. `omniloss.value_and_grad` gives gradients.

Shapes must fit as documented: nothing is broadcast but weights, variances and the target of `GaussianNLLLoss`, so that ``(N,)`` against
``(N, 1)`` is an error that names both. What an element or row of weight 0, or an ignored one, holds changes nothing, NaN
included. A number out of its range raises before anything is computed; such errors are `ValueError` and also `IndexError` and
`RuntimeError`, which torch raises (`TypeError` and `RuntimeError` where the dtype is wrong), and name the argument, the first offending
index, the value and the allowed range.
"""

from omniloss.nn import functional
from omniloss.nn.base import Loss
from omniloss.nn.binary import (
    BCELoss,
    BCEWithLogitsLoss,
)
from omniloss.nn.crossentropy import (
    CrossEntropyLoss,
    NLLLoss,
    NLLLoss2d,
)
from omniloss.nn.divergence import (
    GaussianNLLLoss,
    KLDivLoss,
    PoissonNLLLoss,
)
from omniloss.nn.embedding import (
    CosineEmbeddingLoss,
    HingeEmbeddingLoss,
    MarginRankingLoss,
    TripletMarginLoss,
    TripletMarginWithDistanceLoss,
)
from omniloss.nn.margin import (
    MultiLabelMarginLoss,
    MultiLabelSoftMarginLoss,
    MultiMarginLoss,
    SoftMarginLoss,
)
from omniloss.nn.regression import (
    HuberLoss,
    L1Loss,
    MSELoss,
    SmoothL1Loss,
)
from omniloss.nn.sequence import CTCLoss

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "NLLLoss2d",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
    "functional",
]
