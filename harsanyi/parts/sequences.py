"""Exact parts for sequences of vectors: the protocol, and the registry that makes them from specs.

A part sees one static vector per player, so that nothing but presence ties players together. A part
with `deletes = True` gives the same value whether a player is absent or cut out of the sequence; the
others let an absent player keep its slot, so that its neighbours do not move together.
"""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from harsanyi.parts import from_spec

# kind -> (file, class)
KINDS: dict[str, tuple[str, str]] = {
    "bag": ("bag", "BagPart"),
    "ngrams": ("ngrams", "NgramPart"),
    "convolution": ("convolutions", "ConvolutionPart"),
    "matrices": ("matrices", "MatrixPart"),
    "attention": ("attention", "AttentionPart"),
    "maximum": ("maxima", "MaximumPart"),
}

Terms = tuple[Tensor, Tensor]
"""Coalitions `(u, n)` and their dividends `(b, u, k)`."""


@runtime_checkable
class SequencePart(Protocol):
    """A sum of simple games over the players of a sequence.

    Attributes:
        n_outputs: Outputs `k`.
        spec: JSON description from which `build_sequence` makes an equal part.
        deletes: Whether an absent player and a deleted one are the same.

    A part also has `terms(x, present, real) -> Terms` where its dividends are few and explicit, or
    else `derivatives(x, present, real, size, rule)`, shape `(b, n choose size, k)`: the derivatives
    of its multilinear extension along the diagonal, for sets of 1 or 2 players.
    """

    n_outputs: int
    spec: dict[str, Any]
    deletes: bool

    def __call__(self, x: Tensor, present: Tensor, real: Tensor) -> Tensor:
        """Value `(b, k)` of vectors `(b, n, d)` with the players `present`, bool `(b, n)`.

        `real` `(b, n)` is false for padding, and holds `present`.
        """
        ...

    def attribute(
        self, x: Tensor, present: Tensor, real: Tensor, tolerance: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Value `(b, k)`, Shapley values `(b, n, k)` and the value of nobody `(b, k)`.

        A positive `tolerance` lets a part with quadrature use fewer nodes, as far as it certifies
        that no value is further off.
        """
        ...


def build_sequence(spec: dict[str, Any], width: int, n_outputs: int) -> nn.Module:
    """The sequence part that `spec` describes, with freshly initialised numbers.

    Args:
        spec: JSON dict: "kind" and the keyword arguments of that part's class.
        width: Numbers per player `d`.
        n_outputs: Outputs `k`.

    Returns:
        A module that follows the `SequencePart` protocol.

    Raises:
        TypeError: If the spec has an option the part does not know.
        ValueError: If the kind is unknown.
    """
    return from_spec(KINDS, spec, width, n_outputs)


def linear(n_in: int, n_out: int, *, bias: bool = False, scale: float = 1.0) -> nn.Linear:
    """A linear map whose weights are drawn by `draw`, with deviation scale / sqrt(n_in)."""
    layer = nn.Linear(n_in, n_out, bias=bias)
    layer.draw_scale = scale  # pyright: ignore[reportArgumentType]
    return layer


def draw(module: nn.Module, generator: Any) -> None:  # noqa: ANN401 - a torch generator
    """Draw all linear maps below `module` anew; biases become zero.

    Args:
        module: Made with `linear`.
        generator: Source of the numbers.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and not layer.weight.is_meta:
            scale = float(getattr(layer, "draw_scale", 1.0)) / layer.in_features**0.5
            layer.weight.data.normal_(0, scale, generator=generator)
            if layer.bias is not None:
                layer.bias.data.zero_()
