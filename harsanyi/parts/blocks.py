"""Blocks of units: each unit reads its children only, and its field is the union of theirs.

Inside a block the units come first, `(u, b, d)`, so that a batched product treats every unit at
once.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

from harsanyi.gates import straight_through

FEW = 8
"""Children up to which a unit's first layer is added up child by child."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
}


def named_activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function called `name`.

    Raises:
        ValueError: If there is none.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name!r}; known are {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]


class FixedBlock(nn.Module):
    """Units whose children are given: a small network of its own for each.

    Units of equally many children are computed together, so nothing is padded, and a unit gathers
    its children instead of multiplying the others by zero.

    Args:
        n_inputs: Players or units below.
        in_channels: Entries of their vectors.
        units: Pairs `[children, count]` in ascending order of `children`, each at least 1.
        channels: Entries `d` of a unit's vector.
        hidden: Entries of a hidden layer inside each unit; 0 for none.
        activation: Name of the function after each layer.

    Raises:
        ValueError: If sizes are not positive and ascending.
    """

    def __init__(
        self,
        n_inputs: int,
        in_channels: int,
        *,
        units: list[list[int]],
        channels: int = 8,
        hidden: int = 0,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        sizes = [size for size, _ in units]
        if not units or min(min(pair) for pair in units) < 1:
            raise ValueError(f"units={units}; give pairs [children >= 1, count >= 1].")
        if any(low >= high for low, high in pairwise(sizes)) or sizes[-1] > n_inputs:
            raise ValueError(
                f"units={units}; sizes must ascend and not exceed the {n_inputs} inputs."
            )
        self.sizes, self.n_inputs = sizes, n_inputs
        self.n_units, self.channels = sum(count for _, count in units), channels
        self.function = named_activation(activation)
        first = hidden or channels
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(count, size * in_channels, first)) for size, count in units
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.empty(count, 1, first)) for _, count in units
        )
        self.second = nn.Parameter(torch.empty(self.n_units, hidden, channels)) if hidden else None
        self.shift = nn.Parameter(torch.empty(self.n_units, 1, channels)) if hidden else None
        for size, count in units:
            self.register_buffer(f"children_{size}", torch.zeros(count, size, dtype=torch.int64))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights; children stay."""
        if self.weights[0].is_meta:
            return
        generator = generator or torch.Generator(self.weights[0].device).manual_seed(0)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            weight.normal_(0, (1.5 / weight.shape[1]) ** 0.5, generator=generator)
            bias.normal_(0, 0.3, generator=generator)
        if self.second is not None and self.shift is not None:
            self.second.normal_(0, (1.5 / self.second.shape[1]) ** 0.5, generator=generator)
            self.shift.zero_()

    def members(self, size: int) -> Tensor:
        """Children `(count, size)`, int64, of the units that have `size` of them."""
        return getattr(self, f"children_{size}")

    @torch.no_grad()
    def connect(self, children: list[list[int]]) -> None:
        """Give every unit its children.

        Args:
            children: One list per unit; as many of each length as `units` announced.

        Raises:
            ValueError: If lengths do not fit `units`, or a child does not exist or is repeated.
        """
        for unit in children:
            if len(set(unit)) != len(unit) or not all(0 <= i < self.n_inputs for i in unit):
                raise ValueError(f"unit {unit} needs distinct inputs of 0 to {self.n_inputs - 1}.")
        if len(children) != self.n_units:
            raise ValueError(f"{len(children)} units were given; the block has {self.n_units}.")
        for size in self.sizes:
            chosen = [sorted(unit) for unit in children if len(unit) == size]
            if len(chosen) != len(self.members(size)):
                raise ValueError(
                    f"{len(chosen)} units of {size} children were given; the block has "
                    f"{len(self.members(size))}."
                )
            self.members(size).copy_(torch.tensor(chosen))

    def fields(self, below: Tensor) -> Tensor:
        """Fields `(u, n)`, bool, over fields `below` `(inputs, n)` of the inputs."""
        return torch.cat([below[self.members(size)].any(1) for size in self.sizes])

    def forward(self, inputs: Tensor) -> Tensor:
        """Vectors `(u, b, d)`, not yet gated, of input vectors `(inputs, b, i)`."""
        layers = zip(self.sizes, self.weights, self.biases, strict=True)
        hidden = [self._layer(inputs, size, weight, bias) for size, weight, bias in layers]
        z = self.function(hidden[0] if len(hidden) == 1 else torch.cat(hidden))
        if self.second is None or self.shift is None:
            return z
        return self.function(torch.baddbmm(self.shift, z, self.second))

    def _layer(self, inputs: Tensor, size: int, weight: Tensor, bias: Tensor) -> Tensor:
        children, width = self.members(size), inputs.shape[-1]
        if size > FEW:
            gathered = rearrange(inputs[children], "u s b i -> u b (s i)")
            return torch.baddbmm(bias, gathered, weight)
        # one product per place adds up without ever laying children side by side
        for place in range(size):
            child = inputs.index_select(0, children[:, place])
            bias = torch.baddbmm(bias, child, weight[:, place * width : (place + 1) * width])
        return bias


class LearnedBlock(nn.Module):
    """Units that choose their children through the straight-through estimator.

    Args:
        n_inputs: Players or units below.
        in_channels: Entries of their vectors.
        units: Units `u`.
        channels: Entries `d` of a unit's vector.
        children: Children of a unit at the start, at least one, at most all.
        bias: Whether a unit has a bias; the paper's has none.
        activation: Name of the function.
        beta: Scale of the gradient of the choice.

    Raises:
        ValueError: If `children` is not positive.

    Source: Chen et al. (2023), sec. 3.2-3.3.
    """

    def __init__(
        self,
        n_inputs: int,
        in_channels: int,
        *,
        units: int,
        channels: int = 1,
        children: int = 2,
        bias: bool = True,
        activation: str = "gelu",
        beta: float = 10.0,
        positive: bool = False,
    ) -> None:
        super().__init__()
        if children < 1:
            raise ValueError(
                f"children={children}; a unit needs at least one child to start with."
            )
        self.n_inputs, self.n_units, self.channels = n_inputs, units, channels
        self.beta, self.first, self.positive = beta, min(children, n_inputs), positive
        self.function = named_activation(activation)
        self.tau = nn.Parameter(torch.empty(units, n_inputs))
        self.weight = nn.Parameter(torch.empty(units, channels, n_inputs, in_channels))
        self.bias = nn.Parameter(torch.empty(units, 1, channels)) if bias else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw weights and first children: `tau` is +1 on them and -1 elsewhere."""
        if self.tau.is_meta:
            return
        generator = generator or torch.Generator(self.tau.device).manual_seed(0)
        scores = torch.rand(self.tau.shape, generator=generator, device=self.tau.device)
        chosen = scores.argsort(-1)[:, : self.first]
        self.tau.fill_(-1.0).scatter_(1, chosen, 1.0)
        spread = (1.5 / (self.first * self.weight.shape[-1])) ** 0.5
        self.weight.normal_(0, spread, generator=generator)
        if self.positive:
            self.weight.abs_()
        if self.bias is not None:
            self.bias.normal_(0, 0.3, generator=generator)

    def chosen(self) -> Tensor:
        """Children `(u, inputs)` as zeros and ones that carry the gradient to `tau`."""
        return straight_through(self.tau, self.beta)

    def fields(self, below: Tensor) -> Tensor:
        """Fields `(u, n)`, bool, over fields `below` `(inputs, n)` of the inputs."""
        return (self.tau > 0).float() @ below.float() > 0

    def forward(self, inputs: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Vectors `(u, b, d)`, not yet gated, of input vectors `(inputs, b, i)`."""
        chosen = self.chosen() if chosen is None else chosen
        weight = self.weight * chosen[:, None, :, None]
        z = einsum(weight, inputs, "u d c i, c b i -> u b d")
        return self.function(z if self.bias is None else z + self.bias)
