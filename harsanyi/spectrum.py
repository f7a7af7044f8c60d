"""How much of a game lies at each interaction order: exactness is not yet information.

A dividend on all n players is shared equally by them, whatever they are; its share of the whole
is the uninformative mass.
"""

from typing import TYPE_CHECKING

import torch
from einops import einsum
from torch import Tensor

from harsanyi.quadrature import Products

if TYPE_CHECKING:
    from harsanyi.dividends import Dividends


def order_spectrum(dividends: "Dividends") -> Tensor:
    """Share of the absolute dividends at each order; see `Dividends.order_spectrum`."""
    sets, values = dividends.coalitions, dividends.values.abs()
    b, _, k = values.shape
    mass = values.new_zeros(b, dividends.n_players, k)
    return shares(mass.index_add(1, sets.sum(1) - 1, values))


def term_spectrum(dividends: "Dividends") -> Tensor:
    """Share of each order before likes are added up; see `Dividends.term_spectrum`."""
    return shares(term_mass(dividends))


def term_mass(dividends: "Dividends") -> Tensor:
    """Sum of the absolute dividends of all terms by order, `(b, n, k)` with order s at s - 1."""
    values = dividends.term_values.abs()
    b, _, k = values.shape
    n = dividends.n_players
    mass = values.new_zeros(b, n + 1, k).index_add(1, dividends.terms.sum(1), values)[:, 1:]
    for part in dividends.boxes:
        mass = mass + part.term_spectrum(n)
    for part in dividends.products:
        mass = mass + _product_mass(part)
    return mass


def _product_mass(part: Products) -> Tensor:
    """Sum of |dividends| by order: elementary symmetric polynomials of the absolute factors.

    For complex products the moduli are counted, which bound the real parts.
    """
    sizes = part.factors.abs()
    b, r, n = sizes.shape
    polynomial = torch.zeros(b, r, n + 1, dtype=sizes.dtype, device=sizes.device)
    polynomial[..., 0] = 1
    for player in range(n):
        shifted = polynomial[..., :-1] * sizes[..., player : player + 1]
        polynomial = torch.cat([polynomial[..., :1], polynomial[..., 1:] + shifted], -1)
    return einsum(polynomial[..., 1:], part.weights.abs(), "b r n, r k -> b n k")


def shares(mass: Tensor) -> Tensor:
    """Mass `(b, n, k)` by order as shares of its sum; 0 where there is none."""
    total = mass.sum(1, keepdim=True)
    return torch.where(total > 0, mass / total.clamp(min=torch.finfo(mass.dtype).tiny), 0.0)
