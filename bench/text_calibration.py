"""Does an explanation tell when its model is wrong? Calibration from explanations.

A forest learns from a few hundred texts whether the target decides right: from its probabilities,
from the kinds of words besides, and from what those words are worth to the decision besides. The
published study has parts of speech for kinds; no tagger is at hand here, so words fall into kinds
by a list.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.explanation import Explanation
from bench.text_bench import Bench, saved

WORDS = {
    "negation": "no not nor never none nobody nothing neither cannot without hardly",
    "contrast": "but however although though yet despite while except instead",
    "function word": (
        "a an the and or of to in on at by for from with as is are was were be been being has have "
        "had do does did it its this that these those he she they we you i his her their our your "
        "my who which what there so than then if when will would can could may might should must"
    ),
}
"""Words of the kinds that are lists."""

KINDS = (*WORDS, "number or mark", "other word")

_KIND = {word: kind for kind, words in WORDS.items() for word in words.split()}

TOP_SHARES = (0.25, 0.5, 0.75)
"""Shares of the texts, the most confident ones, whose share of right decisions is told."""


def calibration(
    bench: Bench,
    texts: int = 800,
    train: int = 500,
    splits: int = 10,
    pairs: Sequence[int] = (1, 8),
    trees: int = 300,
) -> dict[str, Any]:
    """How well features of explanations tell a target's right decisions from its wrong ones.

    Args:
        bench: Whose folder holds a trained explainer.
        texts: Labelled texts that neither target nor explainer has seen.
        train: How many of them a forest learns from; half, if there are fewer than twice as many.
        splits: Random splits into learned and judged.
        pairs: Numbers of fresh pairs that direct sampling explains with.
        trees: Of a forest.

    Returns:
        By set of features: accuracy, AUROC and the share of right decisions among the most
        confident texts, means over the splits with their standard errors, and evaluations spent.

    Raises:
        ValueError: If the texts have no labels, or the target is always right or always wrong.

    Source: Ye and Durrett (2022), sec. 3; Yang et al. (2023), sec. 5.
    """
    from bench.problems.text_data import load_texts

    data = load_texts(bench.name.split("/")[0], "test").first(texts)
    if data.labels is None:
        raise ValueError(f"the texts of {bench.name} have no labels; calibration needs them.")
    game = bench.model(data.texts)
    logits = game(game.player_mask[:, None])[:, 0]
    right = (logits.argmax(-1) == torch.tensor(data.labels)).numpy()
    if right.all() or not right.any():
        raise ValueError(
            f"{bench.name} decides all of {len(right)} texts alike right or wrong; pass more texts."
        )
    known = np.concatenate([probabilities(logits), kind_counts(game.players)], axis=1)
    said: dict[str, Explanation] = {"one pass": saved(bench).explain(data.texts)}
    said |= {f"{p} fresh pairs": bench.fresh(p, data.texts) for p in pairs}
    features = {"probabilities": probabilities(logits), "kinds of words": known}
    for name, one in said.items():
        features[name] = np.concatenate([known, worth_of_kinds(one, logits.argmax(-1))], axis=1)
    train = min(train, len(right) // 2)
    found = {
        name: forest(given, right, train=train, splits=splits, trees=trees)
        | {"evaluations": said[name].n_evals if name in said else 0}
        for name, given in features.items()
    }
    return {
        "texts": len(right),
        "learned_from": train,
        "right": float(right.mean()),
        "splits": splits,
        "features": found,
    }


def kind_of(word: str) -> str:
    """The kind of a word, one of `KINDS`."""
    bare = re.sub(r"^\W+|\W+$", "", word.lower())
    if bare.endswith("n't"):
        return "negation"
    plain = "other word" if any(letter.isalpha() for letter in bare) else "number or mark"
    return _KIND.get(bare, plain)


def probabilities(logits: Tensor) -> np.ndarray:
    """Log-probabilities of all classes, and sorted ones `(b, 2 k)`."""
    told = logits.double().log_softmax(-1)
    return torch.cat([told, told.sort(-1, descending=True).values], -1).numpy()


def kind_counts(players: Sequence[Sequence[str]]) -> np.ndarray:
    """How many words of each kind a text has `(b, kinds)`."""
    found = np.zeros((len(players), len(KINDS)))
    for row, words in enumerate(players):
        for word in words:
            found[row, KINDS.index(kind_of(word))] += 1
    return found


def worth_of_kinds(said: Explanation, decided: Tensor) -> np.ndarray:
    """What words of each kind add to the decision, for and against it, and how it is spread.

    Args:
        said: Values `(b, n, k)` of words.
        decided: Int64 `(b,)`, the target's decision.

    Returns:
        `(b, 2 kinds + 3)`: sums of positive and of negative values of each kind, then the largest
        and least value and the entropy of absolute values.
    """
    players: Any = said.players
    rows = torch.arange(len(said.values))
    values = said.values.double()[rows, :, decided].numpy()  # (b, n)
    found = np.zeros((len(values), 2 * len(KINDS) + 3))
    for row, words in enumerate(players):
        own = values[row, : len(words)]
        for value, word in zip(own, words, strict=True):
            found[row, KINDS.index(kind_of(word)) + len(KINDS) * (value < 0)] += value
        share = np.abs(own) / max(np.abs(own).sum(), 1e-12)
        entropy = -(share * np.log(share.clip(1e-12))).sum()
        found[row, -3:] = own.max(initial=0.0), own.min(initial=0.0), entropy
    return found


def forest(
    features: np.ndarray, right: np.ndarray, *, train: int, splits: int, trees: int
) -> dict[str, float]:
    """How well a random forest tells right decisions, over random splits.

    Args:
        features: `(b, f)`.
        right: Bool `(b,)`.
        train: Texts to learn from.
        splits: Random splits.
        trees: Of the forest.

    Returns:
        Means of `accuracy`, `auroc` and `right_at_25` to `right_at_75`, and the standard error of
        the AUROC's mean.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedShuffleSplit

    cuts = StratifiedShuffleSplit(splits, train_size=train, random_state=0)
    runs: list[list[float]] = []
    for number, (learned, judged) in enumerate(cuts.split(features, right)):
        made = RandomForestClassifier(trees, min_samples_leaf=3, random_state=number)
        made.fit(features[learned], right[learned])
        sure = np.asarray(made.predict_proba(features[judged]))[:, 1]
        truth = right[judged]
        order = np.argsort(-sure, kind="stable")
        at = [truth[order[: max(1, round(share * len(order)))]].mean() for share in TOP_SHARES]
        accuracy = ((sure > 0.5) == truth).mean()
        runs.append([float(accuracy), float(roc_auc_score(truth, sure)), *map(float, at)])
    means, spread = np.mean(runs, axis=0), np.std(runs, axis=0, ddof=1 if splits > 1 else 0)
    names = ("accuracy", "auroc", *(f"right_at_{round(100 * share)}" for share in TOP_SHARES))
    found = dict(zip(names, means.tolist(), strict=True))
    return {**found, "auroc_se": float(spread[1]) / splits**0.5}
