"""Gated units, the Harsanyi-MLP: a unit is a pure dividend, off when a member is absent.

v(S) = sum over units of [field inside S] * readout(vector of the unit). So the vectors of the
full row are the dividends, and Shapley values share each of them equally among the members of its
field.
"""

from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

from harsanyi.encoders import PlayerEncoder, ScalarEncoder
from harsanyi.gates import Gate, presence_gate, value_gate
from harsanyi.parts.blocks import FixedBlock, LearnedBlock

if TYPE_CHECKING:
    from harsanyi.dividends import Dividends


DENSE = 12
"""Shares are multiplied as a matrix when more than one in so many is not zero."""


class GatedPart(nn.Module):
    """Blocks of gated units with a linear read-out of every block.

    Args:
        n_players: Players `n`.
        n_outputs: Outputs `k`.
        blocks: Keyword arguments of the blocks, first to last: a `FixedBlock`'s where "units" is a
            list of pairs, else a `LearnedBlock`'s.
        encoder: Keyword arguments of a `PlayerEncoder`, or "scalar" for the paper's.
        gate: "presence" asks the players' flags; "tanh", "tanh_mean" and "hard" ask the children's
            values, as the paper does, and need one channel and no bias.
        gamma: Steepness of a value gate.

    Raises:
        ValueError: If a value gate meets a bias or several channels.

    Source: Chen et al. (2023), "HarsanyiNet"; presence gates and vector units are ours.

    Example:
        >>> import torch
        >>> from harsanyi import GatedPart, HarsanyiNet, NetConfig
        >>> block = {"units": 8, "children": 2, "channels": 4}
        >>> part = GatedPart(3, 2, blocks=[block, block])
        >>> x, present = torch.zeros(5, 3), torch.ones(5, 3, dtype=torch.bool)
        >>> part(x, present).shape, part.shapley(x, present).shape
        (torch.Size([5, 2]), torch.Size([5, 3, 2]))
    """

    absences = frozenset({"baseline", "mask"})

    def __init__(
        self,
        n_players: int,
        n_outputs: int,
        *,
        blocks: list[dict[str, Any]],
        encoder: dict[str, Any] | str | None = None,
        gate: Gate = "presence",
        gamma: float = 100.0,
    ) -> None:
        super().__init__()
        self.spec = {
            "kind": "gated",
            "blocks": [dict(block) for block in blocks],
            "encoder": encoder,
            "gate": gate,
            "gamma": gamma,
        }
        self.n_players, self.n_outputs = n_players, n_outputs
        self.gate: Gate = gate
        self.gamma = gamma
        self.encoder = (
            ScalarEncoder(n_players)
            if encoder == "scalar"
            else PlayerEncoder(n_players, **(encoder if isinstance(encoder, dict) else {}))
        )
        self.blocks = nn.ModuleList()
        inputs, width = n_players, self.encoder.width
        for options in blocks:
            fixed = isinstance(options.get("units"), list)
            block = (FixedBlock if fixed else LearnedBlock)(inputs, width, **options)
            if gate != "presence" and (fixed or block.channels > 1 or block.bias is not None):
                raise ValueError(
                    f"gate={gate!r} reads the values of children, so units need learned "
                    f"children, channels=1 and bias=False; got {options}."
                )
            self.blocks.append(block)
            inputs, width = block.n_units, block.channels
        self.readouts = nn.ParameterList(
            nn.Parameter(torch.empty(block.n_units, block.channels, n_outputs))
            for block in self.layers()
        )
        self.reset_parameters()

    def layers(self) -> list[FixedBlock | LearnedBlock]:
        """The blocks, first to last."""
        return cast("list[FixedBlock | LearnedBlock]", list(self.blocks))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights; column statistics and given children stay."""
        if self.readouts[0].is_meta:
            return
        generator = generator or torch.Generator(self.readouts[0].device).manual_seed(0)
        if isinstance(self.encoder, PlayerEncoder):
            self.encoder.reset_parameters(generator)
        for block in self.layers():
            block.reset_parameters(generator)
        total = sum(readout.shape[0] * readout.shape[1] for readout in self.readouts)
        for readout in self.readouts:
            readout.normal_(0, total**-0.5, generator=generator)

    def fit_encoder(self, x: Tensor, baseline: Tensor | None = None) -> "GatedPart":
        """Take the statistics of the columns from raw rows `(b, n)`.

        Args:
            x: Raw rows, float64.
            baseline: Raw row `(n,)` that the paper's scalar encoding subtracts.

        Returns:
            self.
        """
        if isinstance(self.encoder, ScalarEncoder):
            self.encoder.fit(x, baseline)
        else:
            self.encoder.fit(x)
        return self

    @property
    def cells_per_row(self) -> int:
        """Numbers of the largest intermediate for one row."""
        return max(block.n_units * max(block.channels, self.n_outputs) for block in self.layers())

    def units(self, x: Tensor, present: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Gated vectors and fields of all units, block by block.

        Args:
            x: Raw rows `(b, n)`.
            present: Bool `(b, n)`.

        Returns:
            Vectors `(u, b, d)` and bool fields `(u, n)`, one of each per block.
        """
        z = self.encoder(x)
        everybody = not torch.compiler.is_compiling() and bool(present.all())
        if self.gate != "presence" and not everybody:
            z = torch.where(rearrange(present, "b n -> n b 1"), z, torch.zeros_like(z))
        below = torch.eye(self.n_players, dtype=torch.bool, device=x.device)
        vectors: list[Tensor] = []
        fields: list[Tensor] = []
        for block in self.layers():
            below = block.fields(below)
            if self.gate != "presence":
                z = self._value_gated(block, z)
            else:
                z = block(z)
                if not everybody:  # else every gate is one
                    z = z * presence_gate(present, below)[..., None].to(z.dtype)
            vectors.append(z)
            fields.append(below)
        return vectors, fields

    def _value_gated(self, block: Any, below: Tensor) -> Tensor:  # noqa: ANN401
        chosen = block.chosen()
        z = block(below, chosen)
        kind = "tanh" if self.gate == "presence" else self.gate
        gates = value_gate(rearrange(below, "c b 1 -> b c"), chosen, self.gamma, kind)
        return z * rearrange(gates, "b u -> u b 1")

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Value `(b, k)` of raw rows `x` with the players `present`."""
        vectors, _ = self.units(x, present)
        return self._read(vectors)

    def _read(self, vectors: list[Tensor]) -> Tensor:
        # as `attribute` adds up, to the last bit; training has no use for dividends one by one
        read = _summed if torch.is_grad_enabled() else _added
        pairs = _alike(vectors, list(self.readouts))
        return reduce(add, [read(z, w) for z, w in pairs]).to(vectors[0].dtype)

    def shapley(self, x: Tensor, present: Tensor) -> Tensor:
        """Shapley values `(b, n, k)` of all outputs, as matrix products."""
        return self.attribute(x, present)[1]

    def attribute(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, Shapley values and base from one pass over the units.

        Args:
            x: Raw rows `(b, n)`.
            present: Bool `(b, n)`.

        Returns:
            Value `(b, k)`, Shapley values `(b, n, k)`, and the value with nobody present `(b, k)`.
        """
        vectors, fields = self.units(x, present)
        values: list[Tensor] = []
        shapley: list[Tensor] = []
        bases: list[Tensor] = []
        for z, readout, field in _alike(vectors, list(self.readouts), fields):
            dividends = _dividends(z, readout)
            values.append(dividends.sum(0))
            shapley.append(share(dividends, field))
            nobody = ~field.any(-1)
            if torch.compiler.is_compiling() or bool(nobody.any()):
                weights = nobody.to(dividends.dtype)
                bases.append(einsum(dividends, weights, "u b k, u -> b k"))
            else:
                bases.append(torch.zeros_like(values[-1]))
        dtype = vectors[0].dtype
        value, phi, base = (reduce(add, sums).to(dtype) for sums in (values, shapley, bases))
        return value, rearrange(phi, "n b k -> b n k"), base

    def terms(self, x: Tensor, present: Tensor) -> "Dividends":
        """Dividends of the units, those of one field added up."""
        from harsanyi.dividends import Dividends

        vectors, fields = self.units(x, present)
        pairs = zip(vectors, self.readouts, strict=True)
        dividends = torch.cat([_dividends(z, readout) for z, readout in pairs])
        nobody = dividends.new_zeros(len(x), self.n_outputs)
        values = rearrange(dividends, "u b k -> b u k")
        return Dividends(torch.cat(fields), values, nobody)


def share(dividends: Tensor, fields: Tensor) -> Tensor:
    """Each dividend shared equally among the members of its field.

    Args:
        dividends: `(u, b, k)`.
        fields: Bool `(u, n)`; an empty one shares with nobody.

    Returns:
        Shapley values `(n, b, k)`.
    """
    b, k = dividends.shape[1:]
    shares = fields.to(dividends.dtype) / fields.sum(-1, keepdim=True).clamp(min=1)
    flat = rearrange(dividends, "u b k -> u (b k)")
    plain = torch.is_grad_enabled() or torch.compiler.is_compiling() or flat.numel() == 0
    members = None if plain else shares.T.nonzero()
    if members is None or len(members) * DENSE > shares.numel():
        phi = shares.T @ flat
    else:  # most shares are zero: add up rows instead of multiplying by zeros
        owner, unit = members.unbind(1)
        starts = torch.searchsorted(owner.contiguous(), torch.arange(shares.shape[1]).to(owner))
        phi = F.embedding_bag(
            unit.contiguous(), flat, starts, mode="sum", per_sample_weights=shares.T[owner, unit]
        )
    return rearrange(phi, "n (b k) -> n b k", b=b, k=k)


def _alike(vectors: list[Tensor], *others: list[Tensor]) -> list[tuple[Tensor, ...]]:
    """Blocks of equal channels as one, since few large products beat many small ones."""
    if len({z.shape[-1] for z in vectors}) > 1 or len(vectors) == 1:
        return list(zip(vectors, *others, strict=True))
    return [tuple(torch.cat(list(tensors)) for tensors in (vectors, *others))]


def _dividends(z: Tensor, readout: Tensor) -> Tensor:
    """Dividends `(u, b, k)` of units, half precision raised to float32 before adding up."""
    return torch.bmm(*_wide(z, readout))


def _added(z: Tensor, readout: Tensor) -> Tensor:
    """Sum `(b, k)` of dividends."""
    return _dividends(z, readout).sum(0)


def _summed(z: Tensor, readout: Tensor) -> Tensor:
    """The same in one product, the dividends never written down."""
    z, readout = _wide(z, readout)
    return rearrange(z, "u b d -> b (u d)") @ rearrange(readout, "u d k -> (u d) k")


def _wide(*tensors: Tensor) -> tuple[Tensor, ...]:
    half = tensors[0].dtype in (torch.bfloat16, torch.float16)
    return tuple(tensor.float() for tensor in tensors) if half else tensors
