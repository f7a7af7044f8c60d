"""Packing: which rows of which texts go through the network together.

A plan is a pure function of what was asked, never of what remains to be done, so that the same
request has the same bits whoever asks again.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from baselines.coalitions import all_coalitions, coalition_index, unique_coalitions
from baselines.text_encoders import first_token_encoder
from baselines.text_networks import ByAttention, ByDropping, Reader
from baselines.text_removal import TokenTable

TILE_TOKENS = 2**11
"""Tokens in one call of a network on a CPU: what keeps a feed-forward layer in its cache."""

DEVICE_TILE_TOKENS = 2**17
"""The same on an accelerator."""

TABLE_TOKENS = 2**16
"""Tokens of texts whose first projections are kept at once."""

AGREEMENT = 1e-3
"""Largest difference from the plain way, relative to max(1, |logit|), that a faster way may have
on the probe before it is given up: far above rounding, far below any other computation."""


def read_rows(
    reader: Reader, table: TokenTable, texts: Tensor, coalitions: Tensor, tile_tokens: int
) -> Tensor:
    """Logits of rows, whatever their lengths.

    Args:
        reader: How the network reads.
        table: Tokens of the texts.
        texts: Int64 `(rows,)`, sorted.
        coalitions: Bool `(rows, n)`; each row keeps a token or more.
        tile_tokens: Tokens in one call, padding included.

    Returns:
        `(rows, k)` in the order of the rows.
    """
    kept = table.kept(texts, coalitions)
    answer: Tensor | None = None
    for first, last in _text_ranges(table.lengths):
        read = reader.begin(table.rows(slice(first, last)))
        rows = ((texts >= first) & (texts < last)).nonzero().flatten()
        rows = rows[kept[rows].argsort(stable=True)]
        padded = kept[rows] if table.substitute is None else table.lengths[texts[rows]]
        for tile in _tiles(padded, tile_tokens):
            index = rows[tile]
            part = read(texts[index] - first, coalitions[index])
            if answer is None:
                answer = part.new_empty(len(texts), part.shape[1])
            answer[index.to(answer.device)] = part
    assert answer is not None  # the caller has rows
    return answer


def distinct_rows(coalitions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each coalition of each text once.

    Args:
        coalitions: Bool `(b, m, n)`.

    Returns:
        Int64 `(rows,)` texts in rising order, bool `(rows, n)` coalitions, and int64 `(b * m,)`:
        the row of each coalition asked for.
    """
    b, m, n = coalitions.shape
    digits = all_coalitions(max(1, (b - 1).bit_length()))[:b]
    if n + digits.shape[1] <= 62:  # the text's number above the players' bits
        keys = coalition_index(coalitions) + (torch.arange(b) << n)[:, None]
        distinct, where = keys.flatten().unique(return_inverse=True)
        return distinct >> n, (distinct[:, None] >> torch.arange(n)) & 1 == 1, where
    tagged = torch.cat([digits.flip(1)[:, None].expand(-1, m, -1), coalitions], -1)
    distinct, where = unique_coalitions(tagged.flatten(0, 1))
    texts = coalition_index(distinct[:, : digits.shape[1]].flip(1))
    order = texts.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    return texts[order], distinct[order, digits.shape[1] :], place[where]


def choose_reader(network: nn.Module, probe: TokenTable, *, sees_all: bool) -> Reader:
    """The fastest way to read that agrees with the plain one on a probe.

    Args:
        network: The classifier.
        probe: From `probe_table`.
        sees_all: Whether attention reaches from one end of the texts to the other.

    Returns:
        A reader. Networks whose positions cannot be given, whose attention is local to less than
        the longest text, or that pool or number positions in a way of their own are read in the
        plain way.
    """
    plain = ByAttention(network)
    candidates: list[Reader | None] = [first_token_encoder(network)]
    if probe.substitute is None and "position_ids" in plain.names and sees_all:
        candidates.append(ByDropping(network))
    with torch.no_grad():
        for reader in candidates:
            if reader is not None and _agrees(reader, plain, probe):
                return reader
    return plain


def probe_table(ids: list[int], names: Iterable[str], substitute: int | None) -> TokenTable:
    """Two texts of four players, framed as a text is, to compare ways of reading on.

    Args:
        ids: Four or more ordinary token ids.
        names: What the network takes.
        substitute: Token id of an absent token, or None.
    """
    cycle = torch.tensor((ids * 6)[:6])
    cycle = torch.stack([cycle, cycle.roll(1)])
    inputs = {name: torch.zeros_like(cycle) for name in names} | {"input_ids": cycle}
    owners = torch.tensor([[-1, 0, 1, 2, 3, -1]] * 2)
    return TokenTable(inputs, owners, torch.tensor([6, 6]), torch.ones(2, 4).long(), substitute)


def _agrees(reader: Reader, plain: ByAttention, probe: TokenTable) -> bool:
    """Whether two ways of reading give the same logits for rows with gaps."""
    texts = torch.tensor([1, 1, 0, 0])
    masks = torch.tensor([[0, 0, 1, 0], [0, 1, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1]]).bool()
    order = probe.kept(texts, masks).argsort(stable=True)
    texts, masks = texts[order], masks[order]
    try:
        found = reader.begin(probe)(texts, masks)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
        return False  # it cannot read this network at all
    wanted = plain.read(probe, texts, masks)
    return bool(((found - wanted).abs() <= AGREEMENT * wanted.abs().clamp(min=1)).all())


def _text_ranges(lengths: Tensor) -> list[tuple[int, int]]:
    """Ranges of texts of at most `TABLE_TOKENS` tokens, padding included."""
    step = max(1, TABLE_TOKENS // max(1, int(lengths.max())))
    return [(i, min(i + step, len(lengths))) for i in range(0, len(lengths), step)]


def _tiles(lengths: Tensor, tile_tokens: int) -> Iterator[slice]:
    """Ranges of rows of sorted lengths whose padded size keeps to the budget."""
    sizes, start = lengths.tolist(), 0
    while start < len(sizes):
        stop = start + 1
        while stop < len(sizes) and (stop + 1 - start) * sizes[stop] <= tile_tokens:
            stop += 1
        yield slice(start, stop)
        start = stop
