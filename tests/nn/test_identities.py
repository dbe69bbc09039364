"""Identities between losses, in this dialect and across to the Keras one."""

from __future__ import annotations

import numpy as np
import pytest

from omniloss import losses, nn

F = nn.functional
RNG = np.random.default_rng(6)
X, Y = 3 * RNG.standard_normal((2, 7, 4))
LABELS = RNG.integers(0, 4, 7)
ONE_HOT = np.eye(4)[LABELS]
P = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
Q = np.exp(Y) / np.exp(Y).sum(axis=1, keepdims=True)


def same(first: object, second: object) -> None:
    np.testing.assert_allclose(first, second, rtol=1e-12, atol=1e-13)


def test_divergence_is_cross_entropy_minus_entropy() -> None:
    divergence = F.kl_div(np.log(P), Q, reduction="batchmean")
    entropy = -(Q * np.log(Q)).sum(axis=1).mean()
    same(divergence, F.cross_entropy(X, Q) - entropy)
    same(divergence, F.kl_div(np.log(P), np.log(Q), reduction="batchmean", log_target=True))
    same(divergence, losses.KLDivergence()(Q, P))


@pytest.mark.parametrize("beta", [0.3, 1.0, 2.5])
def test_smooth_l1_is_huber_over_beta(beta: float) -> None:
    same(F.smooth_l1_loss(X, Y, beta=beta), F.huber_loss(X, Y, delta=beta) / beta)


def test_binary_from_logits_is_binary_of_the_sigmoid() -> None:
    target = RNG.random(X.shape)
    logits = F.binary_cross_entropy_with_logits(X, target)
    same(logits, F.binary_cross_entropy(1 / (1 + np.exp(-X)), target))
    same(logits, F.multilabel_soft_margin_loss(X, target))
    same(logits, F.binary_cross_entropy_with_logits(X, target, pos_weight=np.ones(4)))


def test_two_classes_are_binary() -> None:
    x, target = X[:, 0], LABELS % 2
    two = F.cross_entropy(np.stack([np.zeros_like(x), x], axis=1), target)
    same(two, F.binary_cross_entropy_with_logits(x, target))
    same(two, F.soft_margin_loss(x, 2 * target - 1))


def test_indices_are_one_hot_probabilities() -> None:
    for options in ({}, {"label_smoothing": 0.2}, {"weight": [1.0, 2.0, 0.5, 1.5]}):
        for reduction in ("none", "sum"):
            given = {**options, "reduction": reduction}
            same(F.cross_entropy(X, LABELS, **given), F.cross_entropy(X, ONE_HOT, **given))
    same(F.cross_entropy(X, LABELS), F.nll_loss(np.log(P), LABELS))


def test_classes_may_be_followed_by_any_dimensions() -> None:
    cube, labels = RNG.standard_normal((2, 3, 4, 5)), RNG.integers(0, 3, (2, 4, 5))
    flat = np.moveaxis(cube, 1, -1).reshape(-1, 3)
    same(F.cross_entropy(cube, labels), F.cross_entropy(flat, labels.ravel()))


def test_ranking_by_one_is_a_hinge() -> None:
    sign = np.sign(RNG.standard_normal(X.shape))
    same(F.margin_ranking_loss(X, Y, sign, margin=1.0), losses.Hinge()(sign, X - Y))


def test_a_margin_over_the_only_rival_is_a_categorical_hinge() -> None:
    x, target = np.abs(X[:, :2]), LABELS % 2  # Keras's rival is at least 0
    mine = 2 * F.multi_margin_loss(x, target)
    same(mine, losses.CategoricalHinge()(np.eye(2)[target], x))
    lists = np.stack([target, np.full(7, -1)], axis=1)
    same(mine, 2 * F.multilabel_margin_loss(x, lists))


def test_near_pairs_have_the_cosine_of_keras() -> None:
    mine = F.cosine_embedding_loss(X, Y, np.ones(7))
    same(mine, 1 + losses.CosineSimilarity()(X, Y))


def test_a_triplet_far_inside_is_a_difference_of_distances() -> None:
    near, far = X + 0.5, X + 1.5
    same(F.triplet_margin_loss(X, near, far, margin=3.0, eps=0.0), 3 + 1.0 - 3.0)


def test_counts_of_the_rate_and_of_its_logarithm_are_the_same() -> None:
    counts = RNG.poisson(3.0, X.shape)
    for full in (False, True):
        rates = F.poisson_nll_loss(np.exp(X), counts, log_input=False, eps=0.0, full=full)
        same(F.poisson_nll_loss(X, counts, full=full), rates)


def test_a_normal_of_variance_one_is_half_the_squared_error() -> None:
    same(F.gaussian_nll_loss(X, Y, 1.0), F.mse_loss(X, Y) / 2)
