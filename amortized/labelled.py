"""Labels in memory: values of every player with what is known of their error, ready for batches."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from amortized.examples import Examples, distinct, names_of, pick
from amortized.pairs import merge_sums, pair_sums
from amortized.playing import GameCard, GameFactory
from baselines.explanation import Explanation
from baselines.fingerprints import content_hash, key_of
from baselines.torch_calls import as_list

PRIOR_FREEDOM = 4.0
"""Pairs that the pooled variance weighs when an example's own few pairs are shrunk towards it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """Labels of `N` examples, players side by side.

    Args:
        card: The game.
        examples: Texts, pairs of texts, or a tensor.
        names: Content hash of each example.
        values: Float32 `(P, k)`, players of all examples one after another.
        counts: Int64 `(N,)`, players of each example.
        pairs: Int64 `(N,)`, antithetic pairs behind each label.
        exact: Bool `(N,)`, labels without noise.
        pair_variance: `(N, k)`, variance of one pair, mean over the example's players; NaN where
            fewer than two pairs are known.
        empty: `(N, k)`, v(none).
        grand: `(N, k)`, v(all).
        coalitions: Int64 `(N,)`, evaluated for each label.
        estimand: What a value stands for.
        method: Who made them.
        spans: Int64 `(P, 3)`, part, start and stop of each player's characters; None without text.

    Example:
        >>> import tempfile, torch
        >>> from amortized import LabelStore
        >>> from baselines import BaselineImputer, MaskedGame
        >>> def model(x):
        ...     return MaskedGame(lambda rows: rows.prod(1), x, BaselineImputer(1.0))
        >>> store = LabelStore(tempfile.mkdtemp()).generate(model, torch.arange(30.0).view(6, 5), progress=False)
        >>> len(store.labels())
        6
    """

    card: GameCard
    examples: Examples
    names: list[str]
    values: Tensor
    counts: Tensor
    pairs: Tensor
    exact: Tensor
    pair_variance: Tensor
    empty: Tensor
    grand: Tensor
    coalitions: Tensor
    estimand: str = "shapley"
    method: str = "pairs"
    spans: Tensor | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n_outputs(self) -> int:
        """Outputs `k`."""
        return self.values.shape[1]

    @cached_property
    def offsets(self) -> Tensor:
        """Int64 `(N + 1,)`, where each example's players begin."""
        return torch.cat([torch.zeros(1, dtype=torch.int64), self.counts.cumsum(0)])

    @cached_property
    def content_hash(self) -> str:
        """Hash of everything that training on these labels depends on."""
        tensors = [self.values, self.pair_variance.nan_to_num(-1.0), self.empty, self.grand]
        return content_hash(self.card.fingerprint, self.names, tensors, self.pairs, self.exact)

    @classmethod
    def gather(
        cls,
        card: GameCard,
        parts: Iterable[tuple[Examples, list[str], dict[str, Tensor], Mapping[str, Any]]],
    ) -> "Labels":
        """Labels of the shards of all passes.

        Args:
            card: The game.
            parts: For each shard: examples, their names, its tensors, its pass's config.

        Returns:
            Labels in the order in which examples were first planned, their pairs added up.
        """
        found: dict[str, list[dict[str, Any]]] = {}
        examples: dict[str, Any] = {}
        said: Mapping[str, Any] = {}
        for some, names, tensors, said in parts:  # noqa: B007 - all passes agree on what is used
            for row, name in enumerate(names):
                real = tensors["player_mask"][row]
                one = {
                    field: tensors[field][row][real]
                    for field in ("sums", "squares", "spans")
                    if field in tensors
                }
                for field in ("pairs", "exact", "empty", "grand", "coalitions"):
                    one[field] = tensors[field][row]
                found.setdefault(name, []).append(one)
                examples.setdefault(name, some[row])
        merged = [merge_sums(each) for each in found.values()]
        pairs = torch.stack([one["pairs"] for one in merged])
        exact = torch.stack([one["exact"] for one in merged])
        column = list(examples.values())
        return cls(
            card=card,
            examples=torch.stack(column) if isinstance(column[0], Tensor) else column,
            names=list(found),
            values=torch.cat([one["sums"] / one["pairs"].clamp(min=1) for one in merged]).float(),
            counts=torch.tensor([len(one["sums"]) for one in merged]),
            pairs=pairs,
            exact=exact,
            pair_variance=torch.stack([_pair_variance(one) for one in merged]),
            empty=torch.stack([one["empty"] for one in merged]).float(),
            grand=torch.stack([one["grand"] for one in merged]).float(),
            coalitions=torch.stack([one["coalitions"] for one in merged]),
            estimand=said.get("estimand", "shapley"),
            method=said.get("method", "pairs"),
            spans=torch.cat([one["spans"] for one in merged]) if "spans" in merged[0] else None,
        )

    @classmethod
    def now(
        cls, model: GameFactory, examples: Examples, pairs: int = 1, seed: int = 0
    ) -> "Labels":
        """Labels in memory, without a store: a few examples, or their ends alone.

        Args:
            model: Examples -> their games.
            examples: What is labelled.
            pairs: Antithetic pairs for each; 0 asks for v(none) and v(all) only.
            seed: Seed of the pairs.
        """
        card = GameCard.of(model, examples)
        names = names_of(card.fingerprint, examples)
        keep = distinct(names)
        parts: list[tuple[Any, list[str], dict[str, Tensor], dict[str, Any]]] = []
        for start in range(0, len(keep), 64):
            rows = keep[start : start + 64]
            keys = [key_of(seed, "pairs", examples[row]) for row in rows]
            game = model(pick(examples, rows))
            tensors = pair_sums(game, keys, [0] * len(rows), [pairs] * len(rows))
            parts.append((pick(examples, rows), [names[row] for row in rows], tensors, {}))
        return cls.gather(card, parts)

    def of_predicted(self) -> "Labels":
        """The labels of each example's largest v(all) alone, as one output."""
        chosen = self.grand.argmax(1)
        player = torch.repeat_interleave(chosen, self.counts)
        return dataclasses.replace(
            self,
            values=self.values.gather(1, player[:, None]),
            **{
                name: getattr(self, name).gather(1, chosen[:, None])
                for name in ("pair_variance", "empty", "grand")
            },
        )

    def select(self, rows: Sequence[int] | Tensor) -> "Labels":
        """Some of the examples, in this order.

        Args:
            rows: Positions.
        """
        index = torch.as_tensor(rows, dtype=torch.int64)
        players = self._players(index)
        per_row = ("counts", "pairs", "exact", "pair_variance", "empty", "grand", "coalitions")
        return dataclasses.replace(
            self,
            examples=pick(self.examples, as_list(index)),
            names=[self.names[row] for row in as_list(index)],
            values=self.values[players],
            spans=None if self.spans is None else self.spans[players],
            **{name: getattr(self, name)[index] for name in per_row},
        )

    def split(self, share: float) -> tuple["Labels", "Labels"]:
        """Training and validation parts, by the hash of each example.

        Args:
            share: About this share of examples validates; which ones depends on their content
                alone, not on their order or number.

        Raises:
            ValueError: If a part is empty.
        """
        held = [int(name[-8:], 16) < share * 2**32 for name in self.names]
        rows = [[i for i, out in enumerate(held) if out is side] for side in (False, True)]
        if not all(rows):
            raise ValueError(
                f"validation={share} of {len(self)} labels leaves {len(rows[0])} to train on and "
                f"{len(rows[1])} to validate on; pass more labels or another share."
            )
        return self.select(rows[0]), self.select(rows[1])

    def batch(self, rows: Tensor, tensor: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Padded values `(b, n, k)` and player mask `(b, n)` of some examples.

        Args:
            rows: Positions.
            tensor: Another tensor with a row per player, in place of `values`.
        """
        flat = self.values if tensor is None else tensor
        counts = self.counts[rows]
        mask = torch.arange(int(counts.max()) if len(counts) else 0) < counts[:, None]
        padded = flat.new_zeros((*mask.shape, *flat.shape[1:]))
        padded[mask] = flat[self._players(rows)]
        return padded, mask

    def pooled_pair_variance(self) -> Tensor:
        """Variance of one pair, `(k,)`, mean over the examples that tell; NaN where none does.

        Examples weigh by their players alone: more pairs went to those with a larger variance.
        """
        weight = self.counts.double() * ((self.pairs > 1) & ~self.exact)
        known = weight > 0
        if not bool(known.any()):
            return torch.full((self.n_outputs,), torch.nan)
        share = weight[known] / weight[known].sum()
        return (share[:, None] * self.pair_variance[known].double()).sum(0).float()

    def label_variance(self) -> Tensor:
        """Squared standard error of a label, `(N, k)`, mean over its players.

        An example's own spread is shrunk towards that of all, since a few pairs tell little; an
        exact label has none. NaN where nothing is known.
        """
        return shrunk(self.pooled_pair_variance(), self.pair_variance, self.pairs, self.exact)

    def explanation(self) -> Explanation:
        """The labels as one Explanation with standard errors pooled over players."""
        values, mask = self.batch(torch.arange(len(self)))
        error = self.label_variance().sqrt()[:, None].expand_as(values)
        known = bool(torch.isfinite(error).all())
        return Explanation(
            values,
            estimand=self.estimand,
            game=self.card.description,
            method=f"labels by {self.method}",
            exact=False,
            base_values=self.empty,
            std_errors=error * mask[..., None] if known else None,
            n_evals=int(self.coalitions.max()),
            players=self.player_names() or self.card.players,
            outputs=self.card.outputs,
            player_mask=None if bool(mask.all()) else mask,
        )

    def player_names(self) -> list[tuple[str, ...]] | None:
        """The characters of each player, for texts."""
        if self.spans is None or isinstance(self.examples, Tensor):
            return None
        found: list[tuple[str, ...]] = []
        starts: list[int] = as_list(self.offsets)
        for row, text in enumerate(self.examples):
            parts = (text,) if isinstance(text, str) else text
            spans: list[list[int]] = as_list(self.spans[starts[row] : starts[row + 1]])
            found.append(tuple(parts[part][a:z] for part, a, z in spans))
        return found

    def columns(self) -> dict[str, list[Any]]:
        """One column per field, one row per example, as a table holds them."""
        starts: list[int] = as_list(self.offsets)
        cut = [slice(a, z) for a, z in itertools.pairwise(starts)]
        table: dict[str, list[Any]] = {"name": self.names}
        if isinstance(self.examples, Tensor):
            table["x"] = as_list(self.examples.flatten(1))
        elif isinstance(self.examples[0], str):
            table["text"] = list(self.examples)
        else:
            table["text"], table["text_pair"] = map(list, zip(*self.examples, strict=True))
        names = self.player_names()
        if names is not None:
            table["players"] = [list(each) for each in names]
        table["values"] = [as_list(self.values[part]) for part in cut]
        variance: list[list[float]] = as_list(self.label_variance())
        table["std_error"] = [
            [None if math.isnan(v) else v**0.5 for v in each] for each in variance
        ]
        for field in ("pairs", "exact", "empty", "grand", "coalitions"):
            table[field] = getattr(self, field).tolist()
        return table

    def _players(self, rows: Tensor) -> Tensor:
        """Positions of the players of some examples, one after another."""
        counts = self.counts[rows]
        first = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)[:-1]])
        within = torch.arange(int(counts.sum())) - torch.repeat_interleave(first, counts)
        return torch.repeat_interleave(self.offsets[rows], counts) + within


def as_parquet(labels: Labels) -> bytes:
    """Labels as one parquet file, a row per example, the game in its metadata."""
    import io
    import json

    import pyarrow  # pyright: ignore[reportMissingTypeStubs]
    from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs]

    sink = io.BytesIO()
    words = json.dumps(dataclasses.asdict(labels.card), sort_keys=True)
    arrow: Any = pyarrow
    files: Any = parquet
    table = arrow.table(labels.columns()).replace_schema_metadata({"harsanyi": words})
    files.write_table(table, sink)
    return sink.getvalue()


def shrunk(pooled: Tensor, own: Tensor, pairs: Tensor, exact: Tensor) -> Tensor:
    """Variance of the mean of a few pairs: own spread shrunk towards that of all examples.

    Args:
        pooled: `(k,)`, variance of one pair over all examples.
        own: `(b, k)`, variance of one pair of each example, NaN where unknown.
        pairs: `(b,)`.
        exact: Bool `(b,)`, examples without noise.

    Returns:
        `(b, k)`; NaN where neither is known.
    """
    freedom = (pairs - 1).clamp(min=0).to(own)[:, None]
    freedom = torch.where(own.isnan(), 0.0, freedom)
    prior = torch.where(pooled.isnan(), 0.0, PRIOR_FREEDOM).to(own)
    top = freedom * own.nan_to_num(0.0) + prior * pooled.nan_to_num(0.0).to(own)
    spread = torch.where(freedom + prior > 0, top / (freedom + prior), torch.nan)
    return torch.where(exact[:, None], 0.0, spread / pairs.clamp(min=1)[:, None])


def _pair_variance(one: dict[str, Any]) -> Tensor:
    """Unbiased variance of one pair `(k,)`, mean over the example's players."""
    pairs, sums = int(one["pairs"]), one["sums"]
    if bool(one["exact"]) or not len(sums):
        return torch.zeros(sums.shape[-1])
    if pairs < 2:
        return torch.full((sums.shape[-1],), torch.nan)
    spread = (one["squares"] - sums.square() / pairs).clamp(min=0) / (pairs - 1)
    return spread.mean(0).float()
