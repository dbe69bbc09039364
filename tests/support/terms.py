"""What exact definitions are written with: lists of terms, in mpmath's numbers."""

from collections.abc import Callable, Sequence

from mpmath import mp, mpf

__all__ = [
    "ONE",
    "ZERO",
    "Row",
    "Terms",
    "clip",
    "divide",
    "is_inside",
    "log",
    "products",
    "raised",
]

Terms = list[mpf]
Row = Sequence[mpf]

ZERO, ONE = mpf(0), mpf(1)


def products(*factors: tuple[mpf, Callable[[], mpf]]) -> Terms:
    """The products of weights and (lazy) numbers; a weight of 0 silences its number."""
    return [weight * number() for weight, number in factors if weight != 0]


def log(x: mpf) -> mpf:
    return mp.log(x) if x > 0 else (-mp.inf if x == 0 else mp.nan)


def divide(a: mpf, b: mpf) -> mpf:
    return a / b if b != 0 else a * mp.inf


def raised(base: mpf, exponent: mpf) -> mpf:
    if base == 0:
        return mpf(0) if exponent > 0 else mpf(1) if exponent == 0 else mp.inf
    return mp.power(base, exponent)


def clip(x: mpf, low: mpf, high: mpf) -> mpf:
    return min(max(x, low), high) if low > 0 else x


def is_inside(x: mpf, low: mpf, high: mpf) -> bool:
    return low <= 0 or low < x < high
