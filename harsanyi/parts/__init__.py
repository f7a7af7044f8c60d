"""Exact parts: modules that know their own game, its Shapley values and its dividends.

A HarsanyiNet is a bias plus a sum of parts, and Shapley values are linear, so the sum is as exact
as its parts. A part is built from its `spec`, a JSON dict that fixes every shape; the numbers
themselves (weights, trees, fields, bin edges) are parameters and persistent buffers, so that one
safetensors file holds the whole model.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor, nn

if TYPE_CHECKING:
    from harsanyi.dividends import Dividends

# spec["kind"] -> file and class; called as Class(n_players, n_outputs, **the rest of the spec)
KINDS: dict[str, tuple[str, str]] = {
    "gated": ("gated", "GatedPart"),
    "additive": ("additive", "AdditivePart"),
    "subsets": ("subsets", "SubsetPart"),
    "products": ("products", "ProductPart"),
    "trees": ("trees", "TreePart"),
    "waves": ("waves", "WavePart"),
    "grid": ("grids", "GridPart"),
    "cells": ("cells", "CellPart"),
}


@runtime_checkable
class Part(Protocol):
    """One exact summand of a HarsanyiNet.

    Rows `x` are raw and float64, `(b, n)`: numbers as they are, category codes, NaN for missing.
    `present` is bool, `(b, n)`, computed once upstream. The game of a row is v(S) = `part(x,
    present & S)`: players that are not present never count. What stands in `x` at an absent player
    must not matter. Values come in the part's own dtype.

    Attributes:
        n_players: Players `n`.
        n_outputs: Outputs `k`.
        spec: JSON dict with "kind" from which `build` makes a part of the same shapes.
        absences: Semantics of absence the part has a closed form for, of "baseline", "mask" and
            "marginal".
    """

    n_players: int
    n_outputs: int
    spec: dict[str, Any]
    absences: frozenset[str]

    def __call__(self, x: Tensor, present: Tensor) -> Tensor:
        """Value `(b, k)` of the coalition `present`, without the net's bias."""
        ...

    def shapley(self, x: Tensor, present: Tensor) -> Tensor:
        """Shapley values `(b, n, k)` of the game below `(x, present)`, for all outputs at once."""
        ...

    def terms(self, x: Tensor, present: Tensor) -> "Dividends":
        """Dividends of the game below `(x, present)`, the base its value with nobody."""
        ...


def build(spec: dict[str, Any], n_players: int, n_outputs: int) -> nn.Module:
    """The part that `spec` describes, with freshly initialised numbers.

    Args:
        spec: JSON dict: "kind" and the keyword arguments of that part's class.
        n_players: Players `n`.
        n_outputs: Outputs `k`.

    Returns:
        A module that follows the `Part` protocol.

    Raises:
        ValueError: If the kind is unknown.
    """
    return from_spec(KINDS, spec, n_players, n_outputs)


def from_spec(kinds: dict[str, tuple[str, str]], spec: dict[str, Any], *sizes: int) -> nn.Module:
    """The module that `spec` describes, of one of several kinds.

    Args:
        kinds: spec["kind"] -> file of this folder and class.
        spec: JSON dict: "kind" and the keyword arguments of that class.
        sizes: Its first arguments.

    Raises:
        TypeError: If the spec has an option the class does not know.
        ValueError: If the kind is unknown.
    """
    options = dict(spec)
    kind = options.pop("kind", None)
    if kind not in kinds:
        raise ValueError(f"spec['kind'] is {kind!r}; known parts are {', '.join(sorted(kinds))}.")
    file, name = kinds[kind]
    return getattr(import_module(f"harsanyi.parts.{file}"), name)(*sizes, **options)
