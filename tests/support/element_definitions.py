"""The losses of elements, and their derivatives, as lists of terms."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from mpmath import mp, mpf

from support.terms import ZERO, Terms, clip, divide, is_inside, log, products, raised

__all__ = ["ELEMENTS"]


def _squared_error(y: mpf, p: mpf) -> Terms:
    return [(p - y) ** 2]


def _squared_error_slope(y: mpf, p: mpf) -> Terms:
    return [2 * (p - y)]


def _absolute_error(y: mpf, p: mpf) -> Terms:
    return [abs(p - y)]


def _absolute_error_slope(y: mpf, p: mpf) -> Terms:
    return [mp.sign(p - y)] if p != y else []


def _log_cosh(y: mpf, p: mpf) -> Terms:
    return [mp.log(mp.cosh(p - y))] if p != y else []


def _log_cosh_slope(y: mpf, p: mpf) -> Terms:
    return [mp.tanh(p - y)] if p != y else []


def _huber(y: mpf, p: mpf, delta: mpf) -> Terms:
    size = abs(p - y)
    return [size**2 / 2 if size <= delta else delta * (size - delta / 2)]


def _huber_slope(y: mpf, p: mpf, delta: mpf) -> Terms:
    return [min(max(p - y, -delta), delta)]


def _absolute_percentage_error(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    return [divide(100 * abs(p - y), max(abs(y), epsilon))]


def _absolute_percentage_error_slope(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    scale = max(abs(y), epsilon)
    return [divide(100 * mp.sign(p - y), scale)] if p != y or scale == 0 else []


def _squared_logarithmic_error(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    y, p = clip(y, epsilon, mp.inf), clip(p, epsilon, mp.inf)
    return [(log(1 + p) - log(1 + y)) ** 2] if p != y or p <= -1 else []


def _squared_logarithmic_error_slope(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    y = clip(y, epsilon, mp.inf)
    if not is_inside(p, epsilon, mp.inf) or (p == y and p > -1):
        return []
    return [divide(2 * (log(1 + p) - log(1 + y)), 1 + p)]


def _kl_divergence(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    y, p = clip(y, epsilon, mpf(1)), clip(p, epsilon, mpf(1))
    return products((y, lambda: -log(p / y))) if y != p else []


def _kl_divergence_slope(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    if not is_inside(p, epsilon, mpf(1)):
        return []
    return products((-clip(y, epsilon, mpf(1)), lambda: divide(mpf(1), p)))


def _poisson(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    return [p, *products((-y, lambda: log(p + epsilon)))]


def _poisson_slope(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    return [mpf(1), *products((-y, lambda: divide(mpf(1), p + epsilon)))]


def _hinge(y: mpf, p: mpf) -> Terms:
    return [mpf(1), -y * p] if y * p < 1 else []


def _hinge_slope(y: mpf, p: mpf) -> Terms:
    return [-y] if y * p < 1 else []


def _squared_hinge(y: mpf, p: mpf) -> Terms:
    return [mpf(1), -2 * y * p, (y * p) ** 2] if y * p < 1 else []


def _squared_hinge_slope(y: mpf, p: mpf) -> Terms:
    return [-2 * y, 2 * y * y * p] if y * p < 1 else []


def _binary(y: mpf, p: mpf, q: mpf, epsilon: mpf, gap: mpf | None = None) -> Terms:
    """Cross-entropy of a target y with the probabilities p and ``q = 1 - p``, clipped at the gap."""
    gap = epsilon if gap is None else gap
    p, q = clip(p, epsilon, 1 - gap), clip(q, gap, 1 - epsilon)
    return products((y, lambda: -log(p)), (1 - y, lambda: -log(q)))


def _binary_slope(y: mpf, p: mpf, q: mpf, epsilon: mpf, gap: mpf | None = None) -> Terms:
    """Its derivative by p."""
    gap = epsilon if gap is None else gap
    if not is_inside(p, epsilon, 1 - gap):
        return []
    return products(
        (-y, lambda: divide(mpf(1), p)),
        (1 - y, lambda: divide(mpf(1), q)),
    )


def _binary_focal(
    y: mpf,
    p: mpf,
    q: mpf,
    epsilon: mpf,
    alpha: mpf,
    gamma: mpf,
    balanced: mpf,
    gap: mpf | None = None,
) -> Terms:
    weight = y * alpha + (1 - y) * (1 - alpha) if balanced else mpf(1)
    factor = weight * raised(y * q + (1 - y) * p, gamma)
    return products(*((factor, lambda term=term: term) for term in _binary(y, p, q, epsilon, gap)))


def _binary_focal_slope(
    y: mpf,
    p: mpf,
    q: mpf,
    epsilon: mpf,
    alpha: mpf,
    gamma: mpf,
    balanced: mpf,
    gap: mpf | None = None,
) -> Terms:
    weight = y * alpha + (1 - y) * (1 - alpha) if balanced else mpf(1)
    miss = y * q + (1 - y) * p
    surprise = mp.fsum(_binary(y, p, q, epsilon, gap))
    slope = _binary_slope(y, p, q, epsilon, gap)
    if mp.isinf(mp.fsum(slope)):
        return products((weight * raised(miss, gamma), lambda: mp.fsum(slope)))
    terms = products(
        *((raised(miss, gamma), lambda term=term: term) for term in slope),
        (gamma * surprise * (1 - y), lambda: raised(miss, gamma - 1)),
        (-gamma * surprise * y, lambda: raised(miss, gamma - 1)),
    )
    return products(*((weight, lambda term=term: term) for term in terms))


def _sigmoid(x: mpf) -> mpf:
    return 1 / (1 + 1 / _exp(x, mp.prec))


@cache
def _exp(x: mpf, precision: int) -> mpf:
    """``exp(x)``, which takes long for a huge x and is asked for again and again."""
    return mp.exp(x)


def _of_logit(terms: Callable[..., Terms]) -> Callable[..., Terms]:
    def value(y: mpf, x: mpf, epsilon: mpf = ZERO, **parameters: mpf) -> Terms:
        return terms(y, _sigmoid(x), _sigmoid(-x), epsilon, **parameters)

    return value


def _by_logit(slope: Callable[..., Terms]) -> Callable[..., Terms]:
    def derivative(y: mpf, x: mpf, epsilon: mpf = ZERO, **parameters: mpf) -> Terms:
        p, q = _sigmoid(x), _sigmoid(-x)
        return [p * q * term for term in slope(y, p, q, epsilon, **parameters)]

    return derivative


def _of_probability(terms: Callable[..., Terms]) -> Callable[..., Terms]:
    def result(y: mpf, p: mpf, epsilon: mpf, **parameters: mpf) -> Terms:
        return terms(y, p, 1 - p, epsilon, **parameters)

    return result


def _smooth_l1(y: mpf, p: mpf, beta: mpf) -> Terms:
    size = abs(p - y)
    return [size**2 / (2 * beta)] if size < beta else [size, -beta / 2]


def _smooth_l1_slope(y: mpf, p: mpf, beta: mpf) -> Terms:
    return [min(max((p - y) / beta, mpf(-1)), mpf(1))]


def _kl_of_logs(y: mpf, x: mpf) -> Terms:
    return products((y, lambda: log(y)), (-y, lambda: x))


def _kl_of_logs_slope(y: mpf, x: mpf) -> Terms:
    return [-y]


def _kl_between_logs(t: mpf, x: mpf) -> Terms:
    return [mp.exp(t) * (t - x)]


def _kl_between_logs_slope(t: mpf, x: mpf) -> Terms:
    return [-mp.exp(t)]


def _stirling(y: mpf) -> Terms:
    return [y * mp.log(y), -y, mp.log(2 * mp.pi * y) / 2] if y > 1 else []


def _poisson_with_stirling(y: mpf, p: mpf, epsilon: mpf) -> Terms:
    return _poisson(y, p, epsilon) + _stirling(y)


def _poisson_of_logs(y: mpf, x: mpf, full: mpf) -> Terms:
    return [_exp(x, mp.prec), -y * x, *(_stirling(y) if full else [])]


def _poisson_of_logs_slope(y: mpf, x: mpf, full: mpf) -> Terms:
    return [_exp(x, mp.prec), -y]


def _clamped_binary(y: mpf, p: mpf, limit: mpf) -> Terms:
    return [y * min(-log(p), limit), (1 - y) * min(-log(1 - p), limit)]


def _clamped_binary_slope(y: mpf, p: mpf, limit: mpf) -> Terms:
    """torch's: the exact slope, its divisor not below 1e-12 as a float32."""
    least = mpf(float(np.float32(1e-12)))
    return [(p - y) / max(p * (1 - p), least)]


def _soft_margin(y: mpf, p: mpf) -> Terms:
    return [mp.log1p(_exp(-y * p, mp.prec))]


def _soft_margin_slope(y: mpf, p: mpf) -> Terms:
    return [-y * _sigmoid(-y * p)]


def _hinge_embedding(y: mpf, p: mpf, margin: mpf) -> Terms:
    near = [p] if y != -1 else []
    return near + ([margin, -p] if y != 1 and p < margin else [])


def _hinge_embedding_slope(y: mpf, p: mpf, margin: mpf) -> Terms:
    near = [mpf(1)] if y != -1 else []
    return near + ([mpf(-1)] if y != 1 and p <= margin else [])


# By formula: of a target and a prediction, the terms of the loss and those of its derivative.
ELEMENTS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "squared_error": (_squared_error, _squared_error_slope),
    "absolute_error": (_absolute_error, _absolute_error_slope),
    "log_cosh": (_log_cosh, _log_cosh_slope),
    "huber": (_huber, _huber_slope),
    "absolute_percentage_error": (_absolute_percentage_error, _absolute_percentage_error_slope),
    "squared_logarithmic_error": (_squared_logarithmic_error, _squared_logarithmic_error_slope),
    "kl_divergence": (_kl_divergence, _kl_divergence_slope),
    "poisson": (_poisson, _poisson_slope),
    "hinge": (_hinge, _hinge_slope),
    "squared_hinge": (_squared_hinge, _squared_hinge_slope),
    "binary_crossentropy": (_of_probability(_binary), _of_probability(_binary_slope)),
    "binary_crossentropy_with_logits": (_of_logit(_binary), _by_logit(_binary_slope)),
    "binary_focal_crossentropy": (
        _of_probability(_binary_focal),
        _of_probability(_binary_focal_slope),
    ),
    "binary_focal_crossentropy_with_logits": (
        _of_logit(_binary_focal),
        _by_logit(_binary_focal_slope),
    ),
    "smooth_l1": (_smooth_l1, _smooth_l1_slope),
    "kl_divergence_of_logs": (_kl_of_logs, _kl_of_logs_slope),
    "kl_divergence_between_logs": (_kl_between_logs, _kl_between_logs_slope),
    "poisson_with_stirling": (_poisson_with_stirling, _poisson_slope),
    "poisson_of_logs": (_poisson_of_logs, _poisson_of_logs_slope),
    "binary_crossentropy_of_clamped_logs": (_clamped_binary, _clamped_binary_slope),
    "soft_margin": (_soft_margin, _soft_margin_slope),
    "hinge_embedding": (_hinge_embedding, _hinge_embedding_slope),
}
