"""LabelStore: noisy Shapley labels of many examples, made once and survived whatever happens.

    store = LabelStore("labels/")
    store.generate(model, texts, pairs=1)     # in any number of processes, again after any crash
    labels = store.labels()

The folder is all there is: no database, no locks, no collectives. `store.json` says which game is
labelled; every `pass-NNN` is a job of `baselines.shards` with sums, squares and counts of pairs.
"""

import numbers
from collections.abc import Iterator, Mapping
from math import ceil
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from amortized.examples import Examples, as_examples, distinct, names_of, pick
from amortized.label_folders import (
    has_card,
    next_folder,
    pass_folders,
    planned_pairs,
    read_card,
    take_passes,
    write_card,
)
from amortized.label_reports import Checked, LabelCost
from amortized.label_work import label_work, method_of, unbalanced_items
from amortized.labelled import Labels, as_parquet
from amortized.passes import Pass, open_pass, plan_pass
from amortized.playing import GameCard, GameFactory
from amortized.teachers import Teacher, estimand_of
from baselines import shards
from baselines.arguments import is_a
from baselines.files import atomic_write
from baselines.fingerprints import key_of
from baselines.torch_calls import as_list

if TYPE_CHECKING:
    import datasets  # pyright: ignore[reportMissingTypeStubs]

PROBED = 16
"""One example in this many gets a second pair, so that the error of labels is known."""


class LabelStore:
    """Labels of a game, in a folder.

    Args:
        path: The folder; made when the first labels are planned.

    Raises:
        ValueError: If the folder holds something else, or a store of another version.

    Example:
        >>> import tempfile, torch
        >>> from amortized import LabelStore
        >>> from baselines import BaselineImputer, MaskedGame
        >>> def model(x):
        ...     return MaskedGame(lambda rows: rows.prod(1), x, BaselineImputer(1.0))
        >>> store = LabelStore(tempfile.mkdtemp()).generate(model, torch.arange(30.0).view(6, 5), progress=False)
        >>> store.labels().values.shape  # all players of all rows, one output
        torch.Size([30, 1])
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file; a store is a folder.")
        self._card: GameCard | None = None
        if has_card(self.path):
            self._card = read_card(self.path)

    @property
    def card(self) -> GameCard:
        """The game that the labels are of.

        Raises:
            FileNotFoundError: If nothing was planned yet.
        """
        if self._card is None and has_card(self.path):  # another process made it meanwhile
            self._card = read_card(self.path)
        if self._card is None:
            raise FileNotFoundError(f"no labels in {self.path}; call generate(model, examples).")
        return self._card

    def generate(
        self,
        model: GameFactory,
        examples: Any,  # noqa: ANN401 - texts, pairs of texts, rows or images
        pairs: int = 1,
        resume: bool = True,
        *,
        std_error: float | None = None,
        most_pairs: int = 64,
        probe: bool = True,
        teacher: Teacher | None = None,
        seed: int = 0,
        shard_size: int = 64,
        rank: int | None = None,
        world_size: int | None = None,
        progress: bool = True,
    ) -> Self:
        """Make the labels that are not there yet; safe to kill, and to run in many processes.

        Masks are a function of seed and example alone. What has more pairs than asked for keeps
        them; what has fewer gets the rest; an example that occurs twice is labelled once.

        Args:
            model: A `TextModel`, or any function from examples to their games.
            examples: Texts, pairs of texts, or a tensor `(b, *features)`.
            pairs: Antithetic pairs of orders for each example.
            resume: Go on with what the folder holds; False demands an empty one.
            std_error: Root mean square standard error over players, in units of the game, that a
                second pass brings every example below; None for no second pass.
            most_pairs: Most pairs of an example in the second pass.
            probe: Give every sixteenth example a second pair when `pairs=1`, without which the
                error of the labels is unknown.
            teacher: Explain with this instead of sampling pairs: an explainer of examples, which
                an amortized explainer then imitates.
            seed: Seed of the pairs.
            shard_size: Examples in a shard; a kill costs the work of one.
            rank: This worker's number; torchrun's by default.
            world_size: Number of workers; torchrun's by default.
            progress: Show a bar.

        Returns:
            The store, checked.

        Raises:
            ValueError: If the folder holds labels of another game, or the check fails.
        """
        if not resume and pass_folders(self.path):
            raise ValueError(f"{self.path} holds labels; pass resume=True or another folder.")
        words: dict[str, Any] = {"seed": seed, "shard_size": shard_size, "teacher": teacher}
        self.plan(model, examples, pairs, probe=probe, **words)
        going: dict[str, Any] = {"rank": rank, "world_size": world_size, "progress": progress}
        self.run(model, teacher=teacher, **going)
        self._demand()
        if std_error is not None and self.plan_second_pass(std_error, most_pairs=most_pairs):
            self.run(model, **going)
            self._demand()
        return self

    def plan(
        self,
        model: GameFactory,
        examples: Any,  # noqa: ANN401
        pairs: int = 1,
        *,
        probe: bool = True,
        teacher: Teacher | None = None,
        seed: int = 0,
        shard_size: int = 64,
    ) -> Pass | None:
        """Write down what is to be made; the arguments are those of `generate`.

        Returns:
            The pass with what was not planned before, or None when everything was.

        Raises:
            TypeError: If a count is no integer.
            ValueError: If `pairs` is below 1, or the folder holds labels of another game.
        """
        for name, count in (("pairs", pairs), ("seed", seed), ("shard_size", shard_size)):
            if not isinstance(count, numbers.Integral) or is_a(count, bool):
                raise TypeError(f"{name}={count!r}; pass an integer.")
        if pairs < 1:
            raise ValueError(f"pairs={pairs}; a label needs at least one antithetic pair.")
        found = as_examples(examples)
        card = self._open(model, found)
        names = names_of(card.fingerprint, found)
        keep = distinct(names)
        found, names = pick(found, keep), [names[i] for i in keep]
        method = "pairs" if teacher is None else method_of(teacher)
        planned = planned_pairs(self.path, seed, method)
        stop = [pairs] * len(names)
        if teacher is not None:
            stop = [1] * len(names)
        elif probe and pairs == 1:
            stop = [2 if key_of(0, "probe", one) % PROBED == 0 else 1 for one in found]
        lacking = [i for i, name in enumerate(names) if planned.get(name, 0) < stop[i]]
        if not lacking:
            return None
        start = [planned.get(names[i], 0) for i in lacking]
        words = self._words(seed, method) | {"estimand": estimand_of(teacher, found)}
        chosen = pick(found, lacking), [names[i] for i in lacking]
        spans = start, [stop[i] for i in lacking]
        folder = next_folder(self.path)
        return plan_pass(folder, *chosen, *spans, words=words, shard_size=shard_size)

    def plan_second_pass(self, std_error: float, *, most_pairs: int = 64) -> Pass | None:
        """Plan more pairs for the examples whose standard error is above a target.

        Args:
            std_error: Root mean square over players, of the worst output, in units of the game.
            most_pairs: Most pairs of an example.

        Returns:
            The pass, or None when every label is good enough.

        Raises:
            ValueError: If the target is not positive, or no example has two pairs to tell errors
                by.
        """
        if not std_error > 0:
            raise ValueError(f"std_error={std_error}; it must be positive.")
        labels = self.labels()
        error = labels.label_variance().amax(1).sqrt()  # (N,)
        if not bool(torch.isfinite(error).all()):
            raise ValueError(
                "no example has two pairs, so the error of labels is unknown; use pairs=2 or "
                "probe=True."
            )
        have = labels.pairs
        enough = (have * (error / std_error).square()).clamp(max=most_pairs)
        want: list[float] = as_list(enough)
        loose = [
            row
            for row in range(len(labels))
            if error[row] > std_error and ceil(want[row]) > int(have[row])
        ]
        if not loose:
            return None
        first = self.passes()[0]
        words = self._words(first.seed, "pairs") | {"std_error": std_error, "estimand": "shapley"}
        chosen = pick(labels.examples, loose), [labels.names[row] for row in loose]
        spans = [int(have[row]) for row in loose], [ceil(want[row]) for row in loose]
        folder, size = next_folder(self.path), first.plan.shard_size
        return plan_pass(folder, *chosen, *spans, words=words, shard_size=size)

    def cost(
        self, model: GameFactory, *, teacher: Teacher | None = None, probe: int = 8
    ) -> LabelCost:
        """What the planned passes will take, from labelling a few examples and dropping them.

        Args:
            model: The model that the store was planned for.
            teacher: As `generate` takes it.
            probe: Examples to try in each pass.
        """
        costs: list[shards.Cost] = []
        rows = 0.0
        for one in self.passes():
            left = [s for s in shards.pending(one.plan)]
            meter = {"rows": 0, "items": 0}
            work = label_work(one, model, teacher, meter)
            costs.append(shards.estimate(one.plan, work, probe))
            items = sum(len(one.plan.items(shard)) for shard in left)
            rows += items * meter["rows"] / max(1, meter["items"])
        return LabelCost(tuple(costs), round(rows))

    def run(
        self,
        model: GameFactory,
        *,
        teacher: Teacher | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        progress: bool = True,
    ) -> list[str]:
        """Make what is planned and not there; the arguments are those of `generate`.

        Returns:
            Names of the shards that this call wrote.
        """
        self._open(model, self.passes()[0].examples)
        written: list[str] = []
        for one in self.passes():
            work = label_work(one, model, teacher)
            going: dict[str, Any] = {"rank": rank, "world_size": world_size, "progress": progress}
            done = shards.run(one.plan, work, **going)
            written += [f"{one.plan.folder.name}/{shard}" for shard in done]
        return written

    def work(self, one: Pass, model: GameFactory) -> shards.Work:
        """What a worker does with the items of a pass, for launchers that call `run_shard`."""
        return label_work(one, model, None)

    def check(self) -> Checked:
        """Read every shard; only this declares labels fit for use.

        Returns:
            What was found; `complete` says whether labels may be used.
        """
        reports: dict[str, shards.Report] = {}
        unbalanced: list[str] = []
        for one in self.passes():
            reports[one.plan.folder.name] = report = shards.check(one.plan)
            if not report.complete or one.plan.config["method"] != "pairs":
                continue
            bad = [one.names[item] for item in unbalanced_items(one.plan.folder)]
            if bad:
                (one.plan.folder / "SUCCESS.json").unlink(missing_ok=True)
            unbalanced += bad
        return Checked(reports, tuple(unbalanced))

    def labels(self) -> Labels:
        """All labels, pairs of all passes added up.

        Raises:
            FileNotFoundError: If there are none, or no check has passed since the last change.
        """
        return Labels.gather(self.card, self._parts())

    def passes(self) -> list[Pass]:
        """The passes planned so far.

        Raises:
            FileNotFoundError: If there is none.
        """
        folders = pass_folders(self.path)
        if not folders:
            raise FileNotFoundError(f"no labels in {self.path}; call generate(model, examples).")
        return [open_pass(folder) for folder in folders]

    def __len__(self) -> int:
        """Examples planned."""
        return len(
            {name for folder in pass_folders(self.path) for name in open_pass(folder).names}
        )

    def dataset(self) -> "datasets.Dataset":
        """The labels as a `datasets.Dataset`, one row per example."""
        import datasets  # pyright: ignore[reportMissingTypeStubs]

        table: Any = datasets.Dataset
        return table.from_dict(self.labels().columns())

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write the labels as one parquet file, to be published or read by anything.

        Args:
            path: File to write.
        """
        atomic_write(Path(path), as_parquet(self.labels()))

    def merge(self, other: "LabelStore | str | PathLike[str]") -> Self:
        """Take in the passes of another store of the same game.

        Args:
            other: A store, or its folder; checked. Pairs that both hold must come from different
                seeds, or the same draws would count twice.

        Returns:
            This store, checked.

        Raises:
            ValueError: If the games differ, or the stores share draws.
        """
        other = other if isinstance(other, LabelStore) else LabelStore(other)
        other.labels()  # refuses what is not checked
        if not pass_folders(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._write_card(other.card)
        if other.card.fingerprint != self.card.fingerprint:
            raise ValueError(f"{other.path} holds labels of another game than {self.path}.")
        take_passes(self.path, other.path)
        self._demand()
        return self

    def _open(self, model: GameFactory, examples: Examples) -> GameCard:
        folders = pass_folders(self.path)
        # a model without a fingerprint is recognised by its answers on the first pass's examples
        reference = open_pass(folders[0]).examples if folders else examples
        card = GameCard.of(model, reference)
        if not folders and not has_card(self.path):
            self._write_card(card)
        if card.fingerprint != self.card.fingerprint:
            raise ValueError(
                f"{self.path} holds labels of {self.card.description!r}, another game than "
                f"{card.description!r}: weights, tokenizer, removal, players or link differ. Use "
                "a new folder."
            )
        return self.card

    def _write_card(self, card: GameCard) -> None:
        write_card(self.path, card)
        self._card = card

    def _words(self, seed: int, method: str) -> dict[str, Any]:
        card = self.card
        return {
            "fingerprint": card.fingerprint,
            "game": card.description,
            "outputs": card.outputs,
            "seed": seed,
            "method": method,
            "torch": torch.__version__,
        }

    def _demand(self) -> None:
        found = self.check()
        if not found.complete:
            raise ValueError(f"the labels in {self.path} are not fit for use:\n{found}")

    def _parts(self) -> Iterator[tuple[Examples, list[str], dict[str, Tensor], Mapping[str, Any]]]:
        for one in self.passes():
            for items, tensors in shards.each_shard(one.plan.folder):
                names = [one.names[item] for item in items]
                yield pick(one.examples, items), names, tensors, one.plan.config
