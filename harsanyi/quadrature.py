"""Product games: every dividend of a product from its factors, by exact quadrature.

One law serves numbers here and matrices in chains.py: nodes on the diagonal, exact from
ceil(d / 2) of them on, with a certificate below that.

A product game v(S) = sum_r w_r prod_{i in S} (1 + a_ri) has a dividend on each of its 2**n
coalitions and still only r * n numbers. Along the diagonal of its multilinear extension the
derivatives are polynomials of low degree, which Gauss-Legendre nodes integrate exactly.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
import torch
from einops import einsum, rearrange
from torch import Tensor

from harsanyi.finite import check_floating

_TILE = 2**22  # numbers held at once in one intermediate
_FAST_TILE = 2**18  # the same where every step is elementwise: small enough for a cache
_NEAR_ZERO = 1e-3  # factors 1 + a above this are divided by; nothing is lost but rounding
_ELLIPSES = tuple(1 + 0.1 * 1.6**step for step in range(16))  # 1.1 to about 115


@lru_cache(maxsize=128)
def legendre_rule(n_nodes: int) -> tuple[tuple[float, float], ...]:
    """Points and weights that integrate polynomials of degree 2 n_nodes - 1 over [0, 1].

    Args:
        n_nodes: Number of points, at least 1.

    Returns:
        Pairs (point, weight), points ascending inside (0, 1), weights summing to 1.
    """
    points, weights = np.polynomial.legendre.leggauss(n_nodes)
    return tuple(zip(((points + 1) / 2).tolist(), (weights / 2).tolist(), strict=True))


def exact_nodes(n_factors: int) -> int:
    """Nodes that make Shapley values of products of `n_factors` players exact: ceil(d / 2)."""
    return max(1, math.ceil(n_factors / 2))


def ellipses() -> list[tuple[float, float]]:
    """Ellipses with foci 0 and 1 that integrands are bounded on: (rho, reach), small to large.

    A point z of the ellipse rho is (1 + u) / 2 with |u| <= reach.
    """
    return [(rho, (rho + 1 / rho) / 2) for rho in _ELLIPSES]


def log_tail(n_nodes: int, rho: float) -> float:
    """Log of what `n_nodes` Gauss-Legendre nodes on [0, 1] miss, per size of the integrand.

    Args:
        n_nodes: Nodes, at least 1.
        rho: Ellipse on which the integrand is bounded.

    Returns:
        log e, where the error is at most e times the largest |integrand| on the ellipse.

    Source: Trefethen (2008), theorem 4.5: Chebyshev coefficients beyond degree 2 n_nodes - 1.
    """
    factor = math.log(2 + 2 / (4 * n_nodes**2 - 1))
    return factor - 2 * n_nodes * math.log(rho) - math.log1p(-(rho**-2))


def fewest_nodes(bound: Callable[[int], Tensor], most: int, tolerance: float) -> int:
    """Fewest nodes whose error bound is at most `tolerance` for every value.

    Args:
        bound: Error bounds of a number of nodes, any shape; not needed at `most`.
        most: Nodes that are exact.
        tolerance: Largest error allowed, in units of the outputs; 0 asks for exactness.

    Returns:
        A number of nodes between 1 and `most`.

    Raises:
        ValueError: If `tolerance` is negative or not a number.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}; it must be 0 or more.")
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        found = bound(middle)
        if found.numel() == 0 or float(found.max()) <= tolerance:
            high = middle
        else:
            low = middle + 1
    return low


def others(values: Tensor) -> Tensor:
    """Product of all entries of the last axis but one's own, without a division.

    Prefix times suffix products: a factor of exactly 0 is as good as any other.

    Args:
        values: Factors `(..., n)`.

    Returns:
        Products `(..., n)`; entry i leaves out `values[..., i]`.
    """
    ones = torch.ones_like(values[..., :1])
    before = torch.cat([ones, values[..., :-1]], -1).cumprod(-1)
    after = torch.cat([ones, values[..., 1:].flip(-1)], -1).cumprod(-1).flip(-1)
    return before * after


def _derivatives(factors: Tensor, at: float, size: int) -> Tensor:
    """Derivative of each product towards every set of `size` players, on the diagonal at `at`.

    Sets in lexicographic order: `(b, r, n)` factors give `(b, r, n choose size)`.
    """
    n = factors.shape[-1]
    opened = 1 + at * factors

    def walk(head: Tensor, start: int, depth: int) -> list[Tensor]:
        if depth == 1:
            return [head[..., None] * factors[..., start:] * others(opened[..., start:])]
        found: list[Tensor] = []
        for i in range(start, n - depth + 1):
            found += walk(head * factors[..., i], i + 1, depth - 1)
            head = head * opened[..., i]
        return found

    return torch.cat(walk(torch.ones_like(factors[..., 0]), 0, size), -1)


def _derivatives_by_division(
    factors: Tensor, size: int, rule: Sequence[tuple[float, float]]
) -> Tensor:
    """The same, summed over a rule, where every 1 + a is well above 0: whole over own factors.

    `(m, n)` factors give `(m, n choose size)`; sets of several players are matrix products of
    sets one smaller with single players, over the nodes.
    """
    points, shares = factors.new_tensor(rule).T
    opened = 1 + points[:, None] * factors[:, None]  # (m, q, n)
    pull = factors[:, None] / opened
    level = opened.prod(-1) * shares  # (m, q)
    if size == 1:
        return (level[:, None] @ pull)[:, 0]
    n = factors.shape[1]
    heads = list(combinations(range(n), size - 1))
    rows = [row for row, head in enumerate(heads) for _ in range(head[-1] + 1, n)]
    last = [i for head in heads for i in range(head[-1] + 1, n)]
    chosen = torch.tensor(heads, device=factors.device)
    products = pull[..., chosen].prod(-1) * level[..., None]  # (m, q, heads)
    return (products.mT @ pull)[:, rows, last]


def product_derivatives(
    weights: Tensor,
    factors: Tensor,
    size: int,
    rule: Sequence[tuple[float, float]],
    *,
    positive: bool | None = None,
) -> Tensor:
    """Weighted derivatives of a product game along the diagonal, for all sets of one size.

    Args:
        weights: `(r, k)`, one weight per product and output.
        factors: `(b, r, n)`, what each player's presence multiplies by, less one.
        size: Players per set, from 1 to n.
        rule: Pairs (point in [0, 1], weight) that the derivatives are summed with.
        positive: Whether 1 + t * factors keeps clear of 0 for all t in [0, 1], which allows a
            faster way; None looks.

    Returns:
        `(b, n choose size, k)`, sets in lexicographic order of their positions.
    """
    b, r, n = factors.shape
    n_sets = math.comb(n, size)
    if b == 0 or r == 0 or n_sets == 0:
        return real_part(factors.new_zeros(b, n_sets, weights.shape[1]))
    if positive is None:
        positive = _away_from_zero(factors.detach())
    held = len(rule) * n if positive else n_sets
    if positive and size > 1:
        held = max(held, math.comb(n, size - 1) * (n + size * len(rule)))
    tile = _FAST_TILE if positive else _TILE
    answers: list[Tensor] = []
    for part in row_tiles(factors, tile // (r * held)):
        if positive:
            flat = rearrange(part, "b r n -> (b r) n")
            total = _derivatives_by_division(flat, size, rule)
            total = rearrange(total, "(b r) s -> b r s", r=r)
        else:
            total = torch.stack([w * _derivatives(part, at, size) for at, w in rule]).sum(0)
        answers.append(real_part(einsum(total, weights, "b r s, r k -> b s k")))
    return torch.cat(answers)


def real_part(numbers: Tensor) -> Tensor:
    """Numbers as they are, or their real part where they are complex."""
    return numbers.real if numbers.is_complex() else numbers


def _away_from_zero(factors: Tensor) -> bool:
    """Whether 1 + t a keeps clear of 0 for every factor a and every t in [0, 1]."""
    size = factors.abs().square()
    nearest = (-real_part(factors) / size.clamp(min=torch.finfo(size.dtype).tiny)).clamp(0, 1)
    return bool(((1 + nearest * factors).abs() > _NEAR_ZERO).all())


def row_tiles(rows: Tensor, size: int) -> Sequence[Tensor]:
    """Rows in tiles of about `size`, at least 1; in one piece while a program is exported."""
    return [rows] if torch.compiler.is_exporting() else torch.split(rows, max(1, size))


def product_shapley(
    weights: Tensor,
    factors: Tensor,
    n_nodes: int | None = None,
    *,
    positive: bool | None = None,
) -> Tensor:
    """Shapley values of a product game.

    Args:
        weights: `(r, k)`.
        factors: `(b, r, n)`.
        n_nodes: Nodes on the diagonal; None takes ceil(n / 2), which is exact.
        positive: Whether 1 + t * factors keeps clear of 0 for all t in [0, 1]; None looks. When
            it is given, no branch reads the data, so that the call can be exported.

    Returns:
        Values `(b, n, k)`.

    Source: Owen (1972), diagonal formula; Gauss-Legendre is exact to degree 2 n_nodes - 1.
    """
    n_nodes = exact_nodes(factors.shape[-1]) if n_nodes is None else n_nodes
    return product_derivatives(weights, factors, 1, legendre_rule(n_nodes), positive=positive)


def product_banzhaf(weights: Tensor, factors: Tensor) -> Tensor:
    """Banzhaf values `(b, n, k)` of a product game: one node, at 1/2."""
    return product_derivatives(weights, factors, 1, [(0.5, 1.0)])


@dataclass(frozen=True, eq=False)
class Products:
    """A sum of product games, v(S) = sum_r w_r prod_{i in S} (1 + a_ri).

    Weights and factors may be complex; v is then the real part, as a wave over players needs:
    cos(b + sum of a_i) = Re e^(ib) prod e^(i a_i).

    Attributes:
        weights: `(r, k)`, in units of the outputs.
        factors: `(b, r, n)`; 0 makes a player a dummy of that product.

    Raises:
        TypeError: If a tensor is neither floating point nor complex, or the dtypes differ.
        ValueError: If shapes disagree, a number is not finite, or some v(S) overflows.

    Example:
        >>> import torch
        >>> from harsanyi import Dividends, Products
        >>> game = Products(weights=torch.ones(1, 1), factors=torch.tensor([[[1.0, 2.0]]]))
        >>> nothing = torch.zeros(0, 2, dtype=torch.bool), torch.zeros(1, 0, 1)
        >>> d = Dividends(*nothing, torch.zeros(1, 1), products=[game])
        >>> d.shapley()[0, :, 0]  # v(both) = (1 + 1)(1 + 2), v(none) = 1
        tensor([2., 3.])
    """

    weights: Tensor
    factors: Tensor

    def __post_init__(self) -> None:
        for name in ("weights", "factors"):
            check_floating(name, getattr(self, name), "Products", or_complex=True)
        if self.weights.dtype != self.factors.dtype:
            raise TypeError(
                f"Products got weights of dtype {self.weights.dtype} and factors of "
                f"{self.factors.dtype}; cast one to the other."
            )
        if self.weights.ndim != 2 or self.factors.ndim != 3:
            raise ValueError(
                f"Products got weights {tuple(self.weights.shape)} and factors "
                f"{tuple(self.factors.shape)}; they must be (r, k) and (b, r, n)."
            )
        if self.weights.shape[0] != self.factors.shape[1]:
            raise ValueError(
                f"Products got {self.weights.shape[0]} rows of weights for "
                f"{self.factors.shape[1]} products in factors; the two must agree."
            )
        # |1 + p a| <= max(1, |1 + a|) for p in [0, 1]: when the largest coalition fits the type,
        # so does every partial product below, and no logarithms are needed.
        largest = (1 + self.factors.detach()).abs().clamp(min=1).log().sum(-1)
        limit = math.log(torch.finfo(largest.dtype).max)
        if largest.numel() and float(largest.max()) > limit:
            raise ValueError(
                f"Products reach exp({float(largest.max()):.0f}), beyond {self.factors.dtype}; "
                "bound the factors or pass a wider type."
            )

    @property
    def support(self) -> Tensor:
        """Players `(r, n)` whose factor differs from 0 for at least one explicand."""
        return (self.factors.detach() != 0).any(0)

    @property
    def degree(self) -> int:
        """Most players that one product of one explicand depends on."""
        counts = (self.factors.detach() != 0).sum(-1)
        return int(counts.max()) if counts.numel() else 0

    def shapley(self, n_nodes: int | None = None) -> Tensor:
        """Shapley values `(b, n, k)`, exact unless fewer than ceil(degree / 2) nodes are asked."""
        n_nodes = exact_nodes(self.degree) if n_nodes is None else n_nodes
        return product_shapley(self.weights, self.factors, n_nodes)

    def banzhaf(self) -> Tensor:
        """Banzhaf values `(b, n, k)`."""
        return product_banzhaf(self.weights, self.factors)

    def value(self, coalitions: Tensor) -> Tensor:
        """v(S) of any coalitions.

        Args:
            coalitions: Bool `(1 or b, m, n)`, true = present.

        Returns:
            Values `(b, m, k)`.
        """
        b, r, n = self.factors.shape
        m = coalitions.shape[1]
        if m == 0:
            return real_part(self.weights).new_zeros(b, 0, self.weights.shape[1])
        opened = (1 + self.factors)[:, None]  # (b, 1, r, n)
        one = torch.ones_like(opened[:1, :1, :1, :1])
        answers: list[Tensor] = []
        for tile in torch.split(coalitions, max(1, _TILE // max(1, b * r * n)), 1):
            products = torch.where(tile[:, :, None], opened, one).prod(-1)
            answers.append(real_part(einsum(products, self.weights, "b m r, r k -> b m k")))
        return torch.cat(answers, 1)

    def base(self) -> Tensor:
        """v(none): the sum of the weights, `(b, k)`."""
        return real_part(self.weights.sum(0)).expand(self.factors.shape[0], -1)

    def error_bound(self, n_nodes: int) -> Tensor:
        """A bound on the error of `shapley(n_nodes)`; 0 where that many nodes are exact.

        The integrand is bounded on ellipses with foci 0 and 1, factor by factor and, which keeps
        the cancellation between factors of opposite sign, by |1 + w| <= exp(Re w + |w|^2 / 2);
        the smallest bound over a ladder of ellipses is returned. Rounding (about 1e-15 of the
        sum of the absolute products) is not part of it.

        Args:
            n_nodes: Nodes on the diagonal, at least 1.

        Returns:
            `(b, n, k)`, in units of the outputs.

        Raises:
            ValueError: If `n_nodes` is below 1.

        Source: Trefethen (2008), theorem 4.5: Chebyshev coefficients beyond degree 2 n_nodes - 1.
        """
        if n_nodes < 1:
            raise ValueError(f"n_nodes is {n_nodes}; a quadrature needs at least 1 node.")
        factors, weights = self.factors.detach(), self.weights.detach()
        tiny = torch.finfo(factors.dtype).tiny
        middle, size = 1 + factors / 2, factors.abs()
        level = middle.abs()
        # 1 + z a = (1 + a/2)(1 + u c) with z = (1 + u) / 2; c is capped where 1 + a/2 vanishes
        centred = factors / 2 / torch.where(level > 1e-3 * size, middle, 1e-3 * size + tiny)
        floor, first, second = (
            term.sum(-1, keepdim=True) - term
            for term in (level.clamp(min=tiny).log(), centred, centred.abs() ** 2)
        )
        best = torch.full_like(size, math.inf)
        for rho, reach in ellipses():
            own = (level + size * (reach / 2)).clamp(min=tiny).log()
            together = floor + reach * first.abs() + reach**2 / 2 * second
            logs = torch.minimum(together, own.sum(-1, keepdim=True) - own)
            best = torch.minimum(best, logs + log_tail(n_nodes, rho))
        best = best.exp()
        inexact = (factors != 0).sum(-1, keepdim=True) > 2 * n_nodes
        return einsum(best * size * inexact, weights.abs(), "b r n, r k -> b n k")

    def nodes_for(self, tolerance: float) -> int:
        """Fewest nodes whose error bound is at most `tolerance` for every value.

        Args:
            tolerance: Largest error allowed, in units of the outputs; 0 asks for exactness.

        Returns:
            A number of nodes between 1 and ceil(degree / 2).

        Raises:
            ValueError: If `tolerance` is negative or not a number.
        """
        return fewest_nodes(self.error_bound, exact_nodes(self.degree), tolerance)
