"""First-layer attention of many coalitions of one text as one matrix product.

In the first layer the scores of two tokens do not depend on who else is present; a coalition only
decides over whom the softmax sums. With weights w(i, j) = exp(score), every query's answer is a
ratio of two sums over the present tokens, and both are products of the masks with fixed tables.
"""

import torch
from einops import rearrange
from torch import Tensor

LONGEST = 64
"""Longest text whose tables, `length**2 * d` numbers, beat attention row by row."""

LEAST_ROWS = 24
"""Fewest rows of a text in a call that are worth a product of their own."""

SMALLEST = 1e-25
"""Sum of weights below which rounding may show; such calls take attention row by row."""


class SharedScores:
    """Tables of some texts' first-layer attention, made as they are needed.

    Args:
        projected: Queries, keys and values `(b, length, 3 d)`.
        lengths: Int64 `(b,)`, tokens of each text.
        heads: Attention heads.
    """

    def __init__(self, projected: Tensor, lengths: Tensor, heads: int) -> None:
        self.projected, self.lengths, self.heads = projected, lengths.tolist(), heads
        self._made: tuple[int, Tensor, Tensor] | None = None

    def serves(self, texts: Tensor) -> bool:
        """Whether rows of these texts gain by it: short texts, and many rows of each."""
        few = len(texts) < LEAST_ROWS * len(texts.unique())
        return (
            not few
            and self.projected.shape[1] <= LONGEST
            and self.projected.device.type == "cpu"
            and not torch.is_autocast_enabled("cpu")
        )

    def mix(self, texts: Tensor, present: Tensor) -> Tensor | None:
        """What attention gives each present token.

        Args:
            texts: Int64 `(rows,)`.
            present: Bool `(rows, length)`.

        Returns:
            `(tokens, d)`, rows one behind the other; None where a sum of weights is too small to
            be divided by.
        """
        width = self.projected.shape[-1] // 3
        dtype, length = self.projected.dtype, present.shape[1]
        sums = torch.empty(len(texts), length, width, dtype=dtype)
        weights = torch.empty(len(texts), length, self.heads, dtype=dtype)
        for text in texts.unique().tolist():
            rows = (texts == text).nonzero().flatten()
            size = self.lengths[text]
            tables = self._tables(text)
            masks = present[rows, :size].to(dtype)
            whole = len(rows) == len(texts) and size == length
            for answer, table in zip((sums, weights), tables, strict=True):
                if whole:
                    torch.matmul(masks, table, out=answer.view(len(texts), -1))
                else:
                    answer[rows, :size] = (masks @ table).view(len(rows), size, -1)
        token = present.flatten().nonzero().flatten()
        total = weights.flatten(0, 1).index_select(0, token)
        if bool((total < SMALLEST).any()):
            return None
        heads = rearrange(
            sums.flatten(0, 1).index_select(0, token), "t (h e) -> t h e", h=self.heads
        )
        return (heads / total[..., None]).flatten(1)

    def _tables(self, text: int) -> tuple[Tensor, Tensor]:
        """Weighted values `(length, length d)` and weights `(length, length heads)` of a text,
        by the token attended to and the token that asks."""
        if self._made is None or self._made[0] != text:
            size = self.lengths[text]
            q, k, v = rearrange(
                self.projected[text, :size], "t (c h e) -> c h t e", c=3, h=self.heads
            )
            score = q @ k.mT * q.shape[-1] ** -0.5
            weight = (score - score.amax(-1, keepdim=True)).exp()  # (h, asks, attended)
            values = rearrange(weight[..., None] * v[:, None], "h i j e -> j (i h e)")
            self._made = (text, values.contiguous(), rearrange(weight, "h i j -> j (i h)"))
        return self._made[1], self._made[2]
