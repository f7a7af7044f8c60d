"""What one dividend is worth to each interaction index: coefficient tables and diagonal rules.

Every index here is linear in the dividends: index(S) = sum over T containing S of c(|T|, |S|) I(T).
"""

from fractions import Fraction
from functools import cache
from math import comb, factorial

import numpy as np
from numpy.polynomial import Polynomial

from baselines.interactions import INDICES

# k-SII and Faith-Banzhaf of one order are fixed sums of another index over larger sets.
AGGREGATED = {"k-SII": "SII", "FBII": "BII"}


def check_index(index: str, order: int, n_players: int) -> None:
    """Refuses an unknown index or an impossible order.

    Args:
        index: Name of the index.
        order: Largest size of a set.
        n_players: Players of the game.

    Raises:
        ValueError: If the index is unknown or the order is not between 1 and n.
    """
    if index not in INDICES:
        raise ValueError(f"index is {index!r}; choose one of {', '.join(INDICES)}.")
    if (
        isinstance(order, bool)
        or not isinstance(order, int)
        or not 1 <= order <= max(1, n_players)
    ):
        raise ValueError(f"order is {order!r}; pass an integer from 1 to {max(1, n_players)}.")


@cache
def bernoulli(j: int) -> Fraction:
    """Bernoulli number B_j with B_1 = -1/2."""
    if j == 0:
        return Fraction(1)
    return -sum((comb(j + 1, i) * bernoulli(i) for i in range(j)), Fraction(0)) / (j + 1)


@cache
def coefficient(index: str, order: int, t: int, s: int) -> Fraction:
    """c(t, s): weight of a dividend on t players in the index of s of them, exactly.

    Args:
        index: SII, k-SII, STII, FSII, BII or FBII.
        order: Largest size of a set.
        t: Players of the dividend.
        s: Players of the set, from 1 to `order`.

    Returns:
        The coefficient; 0 where t < s.

    Source: Grabisch and Roubens (1999); Sundararajan et al. (2020); Bord and von Luxburg (2023);
        Tsai et al. (2023), in the form that Fujimoto's coefficients take on dividends.
    """
    if t < s:
        return Fraction(0)
    if index == "SII":
        return Fraction(1, t - s + 1)
    if index == "BII":
        return Fraction(1, 2 ** (t - s))
    if index == "k-SII":
        return sum(
            (
                bernoulli(j) * Fraction(comb(t - s, j), t - s - j + 1)
                for j in range(min(order - s, t - s) + 1)
            ),
            Fraction(0),
        )
    if index == "STII":
        return Fraction(1, comb(t, order)) if s == order else Fraction(int(t == s))
    if t <= order:
        return Fraction(int(t == s))
    sign = (-1) ** (order - s)
    if index == "FSII":
        share = Fraction(comb(t - 1, order), comb(t + order - 1, order + s))
        return sign * Fraction(s, order + s) * comb(order, s) * share
    return sign * Fraction(comb(t - s - 1, order - s), 2 ** (t - s))  # FBII


@cache
def size_table(index: str, order: int, s: int, largest: int) -> np.ndarray:
    """c(t, s) for t = 0 to `largest` as float64 `(largest + 1,)`."""
    return np.array([float(coefficient(index, order, t, s)) for t in range(largest + 1)])


@cache
def box_table(index: str, order: int, s: int, width: int) -> np.ndarray:
    """Weight of a box in the index of s of its players, less the sign.

    A box with players that must be present and players that must be absent has alternating
    dividends; for a set that leaves `a` of the first and `c` of the second kind, they add to
    sum_q (-1)^q C(c, q) c(s + a + q, s), taken here in exact fractions.

    Args:
        index: Name of the index.
        order: Largest size of a set.
        s: Players of the set.
        width: Most players of a box.

    Returns:
        Float64 `(width + 1, width + 1)` by (a, c).
    """
    table = np.zeros((width + 1, width + 1))
    for a in range(width + 1):
        for c in range(width + 1 - a):
            table[a, c] = float(
                sum(
                    (
                        (-1) ** q * comb(c, q) * coefficient(index, order, s + a + q, s)
                        for q in range(c + 1)
                    ),
                    Fraction(0),
                )
            )
    return table


def diagonal_rule(index: str, order: int, s: int, degree: int) -> list[tuple[float, float]]:
    """Points and weights that turn derivatives of a product game into an index, exactly.

    c(t, s) is written as an integral of p^(t - s) against a polynomial over [0, 1], which
    Gauss-Legendre nodes of the right number make exact; or as p^(t - s) at one point.

    Args:
        index: SII, STII, FSII or BII (k-SII and FBII are sums of SII and BII).
        order: Largest size of a set.
        s: Players of the set.
        degree: Most players of one product.

    Returns:
        Pairs (point in [0, 1], weight).
    """
    if index == "BII":
        return [(0.5, 1.0)]
    if index == "STII" and s < order:
        return [(0.0, 1.0)]
    density = Polynomial([1.0])
    if index == "STII":
        density = s * Polynomial([1.0, -1.0]) ** (s - 1)
    elif index == "FSII":
        gap = order - s
        scale = s / (order + s) * comb(order, s)
        scale *= factorial(order + s) / (factorial(order) * factorial(order - 1))
        bump = Polynomial([0.0, 1.0]) ** order * Polynomial([1.0, -1.0]) ** (order - 1)
        # c(t, s) is scale * (t-s-1)...(t-l) * integral of p^(t-1) (1-p)^(l-1); by parts the factors
        # move onto the bump, whose derivative keeps p^s: dropping one p leaves a polynomial. It
        # integrates to 1, as the set's own dividend needs, where t > l was assumed.
        density = scale * Polynomial((bump.deriv(gap) if gap else bump).coef[1:])
    n_nodes = max(1, -(-(max(degree - s, 0) + density.degree() + 1) // 2))
    points, weights = np.polynomial.legendre.leggauss(n_nodes)
    points, weights = (points + 1) / 2, weights / 2
    return list(zip(points.tolist(), (weights * density(points)).tolist(), strict=True))
