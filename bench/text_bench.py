"""What studies of amortized explainers on texts share: a target, its texts, labels and truth."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amortized import AmortizedExplainer, Labels, LabelStore
from amortized.examples import names_of
from amortized.pairs import pair_sums
from baselines.explanation import Explanation
from baselines.fingerprints import key_of
from baselines.text_players import Text
from bench import metrics
from bench.problems.text_data import TextData, load_texts
from bench.problems.text_templates import template_texts
from bench.truth import merge_halves

TRUTH_PAIRS = 30
"""Antithetic pairs of each of two independent halves of the truth."""

FRESH = (1, 2, 4, 8)
"""Fresh pairs of direct sampling that an explainer is compared with."""


@dataclasses.dataclass
class Bench:
    """A target, texts to learn from and texts to be judged on.

    Args:
        name: Of the target.
        model: Its TextModel.
        train: Texts to label.
        test: Texts with truth.
        y: Classes of the test texts, or None.
        folder: Where labels, truth and results lie.
        epochs: Passes over labels where a study says nothing; the default when None.
        normalizer: Of the explainers.
        layers: Layers that the explainers read with; the target's when None.
        steps: Steps of each run of a budget that is split.
    """

    name: str
    model: Any
    train: list[Any]
    test: list[Any]
    y: list[int] | None
    folder: Path
    epochs: int | None = None
    normalizer: str = "additive"
    layers: int | None = None
    steps: int = 600

    def labels(self, texts: int | None = None, pairs: int = 1, seed: int = 0) -> Labels:
        """Labels of the first texts."""
        store = LabelStore(self.folder / f"labels-{pairs}-{seed}")
        chosen = list(dict.fromkeys(self.train[:texts]))
        return self._labels(store, chosen, pairs, seed)

    def truth(self, texts: list[Any] | None = None, name: str = "truth") -> Explanation:
        """Both halves of the truth and their mean, with standard errors."""
        halves = [self._half(texts or self.test, f"{name}-{half}", half) for half in (0, 1)]
        return merge_halves(halves[0], halves[1])

    def _half(self, texts: list[Any], name: str, half: int) -> Explanation:
        store = LabelStore(self.folder / name)
        return self._labels(store, texts, TRUTH_PAIRS, 1000 + half).explanation()

    def _labels(self, store: LabelStore, texts: list[Any], pairs: int, seed: int) -> Labels:
        """Labels of some texts in their order, whatever else the store holds."""
        found = store.generate(self.model, texts, pairs, seed=seed, progress=False).labels()
        order = {name: row for row, name in enumerate(found.names)}
        return found.select([order[n] for n in names_of(found.card.fingerprint, texts)])

    def explainer(self, labels: Labels, key: int = 0, **words: Any) -> AmortizedExplainer:  # noqa: ANN401
        """An explainer trained on labels."""
        draws = torch.Generator().manual_seed(key)
        how: dict[str, Any] = {"normalizer": self.normalizer}
        if self.layers:
            how["encoder"] = {"layers": self.layers}
        made = AmortizedExplainer.from_target(self.model, generator=draws, **how)
        return made.fit(labels, key=key, progress=False, **{"epochs": self.epochs, **words})

    def fresh(self, pairs: int, texts: list[Any] | None = None) -> Explanation:
        """Direct sampling by a few pairs of its own."""
        texts = texts or self.test
        game = self.model(texts)
        keys = [key_of(7, "fresh", text) for text in texts]
        drawn = pair_sums(game, keys, [0] * len(texts), [pairs] * len(texts))
        return Explanation(
            (drawn["sums"] / pairs).float(),
            game=self.model.description,
            method=f"{pairs} pairs",
            n_evals=int(drawn["coalitions"].max()),
            players=game.players,
            outputs=self.model.outputs,
            player_mask=game.player_mask,
        )


def judged(said: Explanation, truth: Explanation) -> dict[str, float]:
    """Spearman, true squared error and top-5 agreement of an explanation, mean over texts."""
    return {
        "spearman": float(np.nanmean(metrics.spearman(said, truth))),
        "mse": float(np.mean(metrics.squared_error(said, truth))),
        "top_5": float(np.mean(metrics.top_k(said, truth, k=5))),
    }


def saved(bench: Bench) -> AmortizedExplainer:
    """The explainer that `quality` left in the folder."""
    return AmortizedExplainer.from_pretrained(bench.folder / "explainer", model=bench.model)


def load_bench(
    name: str,
    folder: Path,
    texts: int,
    tests: int,
    least: int = 8,
    target_model: str = "",
    unseen: bool = False,
) -> Bench:
    """A target with texts to learn from and to be judged on.

    Args:
        name: Such as `sst2/bert2`; its first part names the texts.
        folder: Where labels, truth and results lie.
        texts: Texts to label.
        tests: Texts with truth.
        least: Words that a text of the training part has at least.
        target_model: Folder or hub name of another target for these texts.
        unseen: Label texts that the target was not trained on.
    """
    from baselines import TextModel
    from bench.problems.text_targets import text_target

    where = target_model or text_target(name, progress=False)
    model = TextModel.from_pretrained(where, removal="drop")
    data = name.split("/")[0]
    test = load_texts(data, "test").first(tests)
    pool = unseen_texts(data, test.texts, texts) if unseen else load_texts(data).texts
    train = TextData(data, pool, None, ()).first(1_000_000)
    chosen = [text for text in train.texts if len("".join(text).split()) >= least][:texts]
    place = folder / (name.replace("/", "-") + ("-unseen" if unseen else ""))
    return Bench(name, model, chosen, list(test.texts), test.labels, place)


def unseen_texts(data: str, judged: Sequence[Text], size: int) -> list[Text]:
    """Texts that no target was trained on and that share nothing with those to be judged on.

    Args:
        data: Name of the set.
        judged: Texts or pairs that are judged on; what has a text of theirs is left out.
        size: New sentences of the templates; of other sets, all of the test part.
    """
    kept = {part for text in judged for part in ((text,) if isinstance(text, str) else text)}
    if data == "templates":
        known = len(load_texts(data)) + len(load_texts(data, "test"))
        found: list[Text] = list(template_texts(known + size)[0][known:])
    else:
        found = load_texts(data, "test").texts
    return [t for t in found if kept.isdisjoint((t,) if isinstance(t, str) else t)]
