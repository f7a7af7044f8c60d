"""Gated units, the Harsanyi-MLP: a unit is a pure dividend of its field, off when a member is absent.

v(S) = sum over units of [field inside S] * readout(vector of the unit). So the vectors of the full row are the
dividends, and Shapley values share each of them equally among the members of its field.
"""

from typing import TYPE_CHECKING, Any

import torch
from einops import einsum, rearrange, reduce
from torch import Tensor, nn

from harsanyi.encoders import PlayerEncoder, ScalarEncoder
from harsanyi.gates import Gate, presence_gate, value_gate
from harsanyi.parts.blocks import FixedBlock, LearnedBlock

if TYPE_CHECKING:
    from harsanyi.dividends import Dividends


class GatedPart(nn.Module):
    """Blocks of gated units with a linear read-out of every block.

    Args:
        n_players: Players `n`.
        n_outputs: Outputs `k`.
        blocks: Keyword arguments of the blocks, first to last: a `FixedBlock`'s where "units" is a list of
            pairs, else a `LearnedBlock`'s.
        encoder: Keyword arguments of a `PlayerEncoder`, or "scalar" for the paper's.
        gate: "presence" asks the players' flags; "tanh", "tanh_mean" and "hard" ask the children's values,
            as the paper does, and need one channel and no bias.
        gamma: Steepness of a value gate.

    Raises:
        ValueError: If a value gate meets a bias or several channels.

    Source: Chen et al. (2023), "HarsanyiNet"; presence gates and vector units are ours.
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
            for block in self.blocks
        )
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights; column statistics and given children stay."""
        if self.readouts[0].is_meta:
            return
        generator = generator or torch.Generator(self.readouts[0].device).manual_seed(0)
        if isinstance(self.encoder, PlayerEncoder):
            self.encoder.reset_parameters(generator)
        for block in self.blocks:
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

    def units(self, x: Tensor, present: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Gated vectors and fields of all units, block by block.

        Args:
            x: Raw rows `(b, n)`.
            present: Bool `(b, n)`.

        Returns:
            Vectors `(u, b, d)` and bool fields `(u, n)`, one of each per block.
        """
        z = self.encoder(x)
        z = torch.where(rearrange(present, "b n -> n b 1"), z, torch.zeros_like(z))
        below = torch.eye(self.n_players, dtype=torch.bool, device=x.device)
        vectors, fields = [], []
        for block in self.blocks:
            below_values, below = z, block.fields(below)
            if self.gate == "presence":
                z = block(below_values)
                whole = presence_gate(present, below)
                z = torch.where(whole[..., None], z, torch.zeros_like(z))
            else:
                z = self._value_gated(block, below_values)
            vectors.append(z)
            fields.append(below)
        return vectors, fields

    def _value_gated(self, block: nn.Module, below: Tensor) -> Tensor:
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
        values = [
            rearrange(z, "u b d -> b (u d)") @ rearrange(readout, "u d k -> (u d) k")
            for z, readout in zip(vectors, self.readouts, strict=True)
        ]
        return torch.stack(values).sum(0)

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
        value = self._read(vectors)
        shapley, base = value.new_zeros(()), torch.zeros_like(value)
        for z, field, readout in zip(vectors, fields, self.readouts, strict=True):
            z, readout = _accumulable(z), _accumulable(readout)
            shares = field.to(z.dtype) / field.sum(-1, keepdim=True).clamp(min=1)
            if readout.shape[1] == 1:  # scalar units: one product with a static kernel
                kernel = einsum(readout[:, 0], shares, "u k, u n -> u n k")
                phi = rearrange(z, "u b 1 -> b u") @ rearrange(kernel, "u n k -> u (n k)")
                phi = rearrange(phi, "b (n k) -> b n k", k=self.n_outputs)
            else:
                dividends = torch.bmm(z, readout)  # (u, b, k)
                phi = shares.T @ rearrange(dividends, "u b k -> u (b k)")
                phi = rearrange(phi, "n (b k) -> b n k", k=self.n_outputs)
            shapley = shapley + phi
            nobody = (field.sum(-1) == 0).to(z.dtype)
            base = base + einsum(z, readout * nobody[:, None, None], "u b d, u d k -> b k")
        return value, shapley.to(value.dtype), base.to(value.dtype)

    def terms(self, x: Tensor, present: Tensor) -> "Dividends":
        """Dividends of the units, those of one field added up."""
        from baselines.coalitions import unique_coalitions
        from harsanyi.dividends import Dividends

        vectors, fields = self.units(x, present)
        pairs = zip(vectors, self.readouts, strict=True)
        values = torch.cat([torch.bmm(_accumulable(z), _accumulable(w)) for z, w in pairs])
        coalitions, where = unique_coalitions(torch.cat(fields))
        sums = values.new_zeros(len(coalitions), *values.shape[1:])
        sums = rearrange(sums.index_add(0, where.to(values.device), values), "q b k -> b q k")
        nobody = coalitions.sum(-1) == 0
        base = reduce(sums[:, nobody], "b q k -> b k", "sum")
        return Dividends(coalitions[~nobody], sums[:, ~nobody], base)


def _accumulable(tensor: Tensor) -> Tensor:
    """Half precision raised to float32, in which attributions are added up."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
