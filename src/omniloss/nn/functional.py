"""The losses of `torch.nn.functional`, as functions of ``(input, target)`` and the like.

What arrays they take, and what they raise, is said in `omniloss.nn`.
"""

from omniloss.nn.binary import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
)
from omniloss.nn.crossentropy import (
    cross_entropy,
    nll_loss,
)
from omniloss.nn.divergence import (
    gaussian_nll_loss,
    kl_div,
    poisson_nll_loss,
)
from omniloss.nn.embedding import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from omniloss.nn.margin import (
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    soft_margin_loss,
)
from omniloss.nn.regression import (
    huber_loss,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from omniloss.nn.sequence import ctc_loss

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cross_entropy",
    "ctc_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]
