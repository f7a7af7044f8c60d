"""Matrix-product classifier: every player turns a small state, and an absent one is the identity.

A recurrent network whose step is affine in the state: the current player's matrix, drive and readout
are functions of its own vector alone. So an absent player and a deleted one are the same, and all
Shapley values come from nodes on the diagonal (chains.py), exactly from ceil(n / 2) of them on.
"""

from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from harsanyi.chains import MatrixProducts, Rule
from harsanyi.parts.sequences import draw, linear
from harsanyi.quadrature import exact_nodes, legendre_rule


class MatrixPart(nn.Module):
    """Chains of small matrices, half of them read from the end of the text.

    The identity plus a player's matrix has spectral norm at most 1, so states of long texts grow at
    most linearly.

    Args:
        width: Numbers per player `d`.
        n_outputs: Outputs `k`.
        state: Size of the state.
        chains: Chains; every second one reads backwards.

    Raises:
        ValueError: If a number is below 1.
    """

    deletes = True

    def __init__(self, width: int, n_outputs: int, *, state: int = 12, chains: int = 2) -> None:
        super().__init__()
        for name, given in (("state", state), ("chains", chains)):
            if given < 1:
                raise ValueError(f"{name}={given}; a matrix product needs at least 1.")
        self.n_outputs, self.state, self.chains = n_outputs, state, chains
        self.spec: dict[str, Any] = {"kind": "matrices", "state": state, "chains": chains}
        self.sizes = [state * state, state, state * n_outputs]
        self.map = linear(width, chains * sum(self.sizes), bias=True)
        self.start = nn.Parameter(torch.zeros(chains, state))
        self.ends = nn.Parameter(torch.zeros(chains, state, n_outputs))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the weights: matrices begin near the identity."""
        draw(self, generator)
        if self.start.is_meta:
            return
        rows = rearrange(self.map.weight.data, "(h s) d -> h s d", h=self.chains)
        rows[:, : self.sizes[0]] *= 0.5 * self.state**-0.5
        rows[:, self.sizes[0] :] *= 0.3
        self.start.data.normal_(0, self.state**-0.5, generator=generator)
        self.ends.data.normal_(0, 0.5 * self.state**-0.5, generator=generator)

    def _pieces(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Matrices less the identity, drives, reads and presence, chains among the rows."""
        z = rearrange(self.map(x), "b n (h s) -> h b n s", h=self.chains)
        z = torch.cat([z[0::2], z[1::2].flip(2)])
        there = torch.stack([present, present.flip(1)])
        there = torch.cat(
            [repeat(t, "b n -> (h b) n", h=c) for t, c in zip(there, self._halves, strict=True)]
        )
        z = rearrange(z, "h b n s -> (h b) n s")
        raw, drives, reads = z.split(self.sizes, -1)
        raw = rearrange(raw, "g n (i j) -> g n i j", i=self.state)
        reads = rearrange(reads, "g n (i k) -> g n i k", i=self.state)
        return _contracted(raw), drives, reads, there

    @property
    def _halves(self) -> tuple[int, int]:
        """Chains that read forwards and backwards."""
        return (self.chains + 1) // 2, self.chains // 2

    def _order(self, tensor: Tensor) -> Tensor:
        """Parameters of the chains in the order of the rows: forward ones first."""
        return torch.cat([tensor[0::2], tensor[1::2]])

    def forward(self, x: Tensor, present: Tensor, real: Tensor) -> Tensor:
        """Value `(b, k)`."""
        steps, drives, reads, there = self._pieces(x, present)
        b = len(x)
        state = repeat(self._order(self.start), "h s -> (h b) 1 s", b=b)
        gate = there[..., None, None].to(x.dtype)
        met = []
        # unbind, since a slice per player would fill the whole tensor with zeros on the way back
        for step, drive, here in zip(
            steps.unbind(1), drives[:, :, None].unbind(1), gate.unbind(1), strict=True
        ):
            met.append(state)
            state = torch.addcmul(state, here, torch.baddbmm(drive, state, step))
        ends = repeat(self._order(self.ends), "h s k -> (h b) s k", b=b)
        value = (state @ ends)[:, 0]
        if met:
            states = torch.cat(met, 1) * gate[..., 0]  # (g, n, s)
            value = value + torch.einsum("gns,gnsk->gk", states, reads)
        return rearrange(value, "(h b) k -> h b k", b=b).sum(0)

    def games(self, x: Tensor, present: Tensor) -> list[MatrixProducts]:
        """The chains as games over the players, forward ones first.

        Args:
            x: Vectors `(b, n, d)`.
            present: Bool `(b, n)`; others are dummies.
        """
        steps, drives, reads, there = self._pieces(x, present)
        gate = there[..., None].to(x.dtype)
        pieces = (steps * gate[..., None], drives * gate, reads * gate[..., None])
        b = len(x)
        starts, ends = self._order(self.start), self._order(self.ends)
        found = []
        for h in range(self.chains):
            steps, drives, reads = (piece[h * b : (h + 1) * b] for piece in pieces)
            found.append(MatrixProducts(starts[h].expand(b, -1), steps, drives, reads, ends[h]))
        return found

    def derivatives(
        self, x: Tensor, present: Tensor, real: Tensor, size: int, rule: Rule
    ) -> Tensor:
        """Derivatives `(b, n choose size, k)` along the diagonal, summed over a rule."""
        n = x.shape[1]
        total = 0.0
        for h, game in enumerate(self.games(x, present)):
            found = game.derivatives(size, rule)
            total = total + (found if h < self._halves[0] else found[:, _mirrored(n, size)])
        assert isinstance(total, Tensor)
        return total

    def attribute(
        self, x: Tensor, present: Tensor, real: Tensor, tolerance: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Value, Shapley values and the value of nobody."""
        base = torch.einsum("hs,hsk->k", self.start, self.ends).expand(len(x), -1)
        games = self.games(x, present)
        most = exact_nodes(int(present.sum(1).max()) if len(x) else 0)
        shapley = torch.zeros((), dtype=x.dtype, device=x.device)
        for h, game in enumerate(games):
            nodes = game.nodes_for(tolerance / len(games)) if tolerance else most
            found = game.derivatives(1, legendre_rule(nodes))
            shapley = shapley + (found if h < self._halves[0] else found.flip(1))
        return self(x, present, real), shapley, base


def _contracted(raw: Tensor) -> Tensor:
    """A in I + A = (I + raw) / max(1, a bound of its spectral norm)."""
    eye = torch.eye(raw.shape[-1], dtype=raw.dtype, device=raw.device)
    whole = raw + eye
    size = whole.abs()
    bound = size.sum(-1).amax(-1) * size.sum(-2).amax(-1)
    return whole * bound.clamp(min=1).rsqrt()[..., None, None] - eye


def _mirrored(n: int, size: int) -> Tensor:
    """Places in the lexicographic list of the sets that a reversed sequence lists."""
    if size == 1:
        return torch.arange(n - 1, -1, -1)
    place = {
        (i, j): p
        for p, (i, j) in enumerate(zip(*torch.triu_indices(n, n, 1).tolist(), strict=True))
    }
    return torch.tensor([place[n - 1 - j, n - 1 - i] for i, j in place], dtype=torch.long)
