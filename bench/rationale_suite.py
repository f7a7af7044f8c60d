"""Selections of words against what people marked: the text half of the selection suite."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from amortized import LEX, LEXForTexts, presets
from amortized.lex.gradients import Pathwise
from amortized.lex.words import PADDING, Vocabulary, WordPredictor
from baselines import MaskedGame, MaskTokenImputer, training
from baselines.randomness import seeded
from bench.problems.rationales import RATIONALES, RationaleProblem
from bench.selection_metrics import leaks

TEXTS = tuple(RATIONALES)
"""Names of the problems."""

Floats = NDArray[np.float64]


class WordBox:
    """A text classifier that is trained once for all methods of a cell.

    Args:
        problem: Whose training texts it learns.
        seed: Of weights and batches.
        masked: Trained on random selections that it sees, as a judge of them, instead of on whole
            texts.
    """

    def __init__(self, problem: RationaleProblem, seed: int, *, masked: bool = False) -> None:
        self.vocabulary = Vocabulary.of(problem.texts, 20_000)
        self.longest = problem.longest
        rows = self.encode(problem.texts)
        labels = torch.from_numpy(problem.y)
        order = torch.from_numpy(np.random.default_rng([seed, 13]).permutation(len(rows)))
        rows, labels = rows[order], labels[order]
        with seeded(seed + (7_500 if masked else 7_000)):
            self.net = WordPredictor(
                len(self.vocabulary), problem.n_classes, 40 if masked else 32, 1, masked
            )
        held = len(rows) // 10

        def loss(net: nn.Module, batch: tuple[Tensor, Tensor], noise: torch.Generator) -> Tensor:
            x, y = batch
            if not masked:
                return nn.functional.cross_entropy(net(x), y)
            share = torch.rand(len(x), 1, generator=noise)
            shown = torch.rand(x.shape, generator=noise) < share
            return nn.functional.cross_entropy(net(x, shown), y)

        def score(net: nn.Module) -> float:
            fixed = torch.Generator().manual_seed(1)
            return float(loss(net, (rows[:held], labels[:held]), fixed))

        training.fit(
            self.net,
            (rows[held:], labels[held:]),
            loss,
            epochs=12,
            batch_size=problem.batch_size,
            validate=score,
            patience=3,
            optimizer=training.AdamW(lr=3e-3, weight_decay=0.1),
            schedule=training.WarmupCosine(floor=0.05),
            key=seed + 7_001,
        )
        self.net.eval().requires_grad_(False)

    def encode(self, texts: list[list[str]]) -> Tensor:
        """Word numbers `(b, n)`."""
        return self.vocabulary.encode(texts, self.longest)

    def accuracy(self, rows: Tensor, y: NDArray[np.int64], masks: Tensor | None = None) -> float:
        """Share of right answers on word numbers, where masks `(b, n)` show them."""
        return float((self.net(rows, masks).argmax(-1).numpy() == y).mean())

    def game(self, rows: Tensor) -> MaskedGame:
        """The classifier's logits when absent words are dropped."""
        return MaskedGame(
            lambda x: self.net(x) - self.net(x).mean(-1, keepdim=True),
            rows,
            MaskTokenImputer(PADDING),
        )


@dataclasses.dataclass(frozen=True)
class TextEntry:
    """A method on texts.

    Args:
        method: From a problem, its box, a seed and encoded test rows to scores `(b, n)`, and the
            LEX where there is one.
        explains: `"box"`, `"own"` or `"nobody"`.
        rows: Most test texts it is asked for, where it is slow.
    """

    method: Callable[[RationaleProblem, WordBox, int, Tensor], tuple[Tensor, LEX | None]]
    explains: str
    rows: int | None = None


def _lex(
    settings: dict[str, Any], *, boxed: bool = False, rated: bool = True
) -> Callable[[RationaleProblem, WordBox, int, Tensor], tuple[Tensor, LEX | None]]:
    def run(
        problem: RationaleProblem, box: WordBox, seed: int, rows: Tensor
    ) -> tuple[Tensor, LEX | None]:
        given = dict(settings)
        if boxed:
            given["predictor"] = box.net
        if rated:
            given["target_rate"] = problem.rate
        lex: LEXForTexts = LEX.for_text(
            problem.texts,
            problem.n_classes,
            max_words=problem.longest,
            random_state=seed,
            **given,
        )
        per_epoch = -(-len(problem.texts) // problem.batch_size)
        lex.fit(
            problem.texts,
            problem.y,
            epochs=max(2, -(-400 // per_epoch)),
            predictor_epochs=6,
            batch_size=problem.batch_size,
            train_predictor=not boxed,
            learning_rate=3e-3,
            random_state=seed,
        )
        return lex.logits(rows).detach(), lex

    return run


def _shapley(
    problem: RationaleProblem, box: WordBox, seed: int, rows: Tensor
) -> tuple[Tensor, None]:
    from baselines import permutation_shapley

    generator = torch.Generator().manual_seed(seed)
    values = permutation_shapley(
        box.game(rows), budget=4 * problem.longest + 2, generator=generator
    ).values
    return _sizes(values, box, rows), None


def _occlusion(
    problem: RationaleProblem, box: WordBox, seed: int, rows: Tensor
) -> tuple[Tensor, None]:
    from baselines import occlusion

    return _sizes(occlusion(box.game(rows)).values, box, rows), None


def _sizes(values: Tensor, box: WordBox, rows: Tensor) -> Tensor:
    label = box.net(rows).argmax(-1)
    return values.gather(2, label[:, None, None].expand(-1, rows.shape[1], 1))[..., 0].abs()


def _l2(problem: RationaleProblem, box: WordBox, seed: int, rows: Tensor) -> tuple[Tensor, None]:
    return box.net.encoder.embedding(rows).norm(dim=-1), None


def _random(
    problem: RationaleProblem, box: WordBox, seed: int, rows: Tensor
) -> tuple[Tensor, None]:
    return torch.rand(rows.shape, generator=torch.Generator().manual_seed(seed)), None


def _end(problem: RationaleProblem, box: WordBox, seed: int, rows: Tensor) -> tuple[Tensor, None]:
    return torch.arange(rows.shape[1], dtype=torch.float32).expand(rows.shape), None


TEXT_ENTRIES: dict[str, TextEntry] = {
    "lex-words": TextEntry(
        _lex({"imputer": "words", "regime": "frozen", "m": 2, "imputations": 4}, boxed=True),
        "box",
    ),
    "lex-drop": TextEntry(
        _lex({"imputer": "drop", "regime": "surrogate", "m": 4, "imputations": None}), "own"
    ),
    "lex-concrete": TextEntry(
        _lex(
            {
                "imputer": "drop",
                "regime": "surrogate",
                "gradient": Pathwise(0.5),
                "m": 1,
                "imputations": None,
            }
        ),
        "own",
    ),
    "rationale": TextEntry(
        _lex(presets.rationale() | {"imputer": "drop", "m": 2}, rated=False), "own"
    ),
    "shapley": TextEntry(_shapley, "box", rows=60),
    "occlusion": TextEntry(_occlusion, "box", rows=200),
    "l2": TextEntry(_l2, "nobody"),
    "end": TextEntry(_end, "nobody"),
    "random": TextEntry(_random, "nobody"),
}
"""Methods by name. `lex-words` puts random words in the place of absent ones, `lex-drop` and
`lex-concrete` leave them out; `l2`, the norm of a word's vector in the box, `end`, the later words
of a text first, and `random` are floors."""


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """What all methods of a problem and seed share: data, classifier, its seconds, and a judge."""

    problem: RationaleProblem
    box: WordBox
    box_seconds: float
    judge: WordBox


@functools.lru_cache(maxsize=1)  # cells come problem by problem
def prepared(problem_name: str, seed: int) -> Setting:
    """Data, box and judge of a problem and seed."""
    problem = RATIONALES[problem_name](seed=seed)
    start = time.process_time()
    with torch.enable_grad():
        box = WordBox(problem, seed)
        seconds = time.process_time() - start
        return Setting(problem, box, seconds, WordBox(problem, seed, masked=True))


@torch.no_grad()
def judge_texts(problem_name: str, method: str, seed: int) -> dict[str, float]:
    """Fit one method on one problem and score its words against people's.

    Args:
        problem_name: A problem of texts.
        method: A method of `TEXT_ENTRIES`.
        seed: Of weights and, where parts are not fixed, of the split.

    Returns:
        Measure -> number, as `bench.selection_suite.MEASURES` names them.
    """
    entry, setting = TEXT_ENTRIES[method], prepared(problem_name, seed)
    problem, box, judge = setting.problem, setting.box, setting.judge
    size = entry.rows or len(problem.texts_test)
    texts, y = problem.texts_test[:size], problem.y_test[:size]
    truth = problem.truth_test[:size]
    rows = box.encode(texts)
    start = time.process_time()
    with torch.enable_grad():
        scores, lex = entry.method(problem, box, seed, rows)
    seconds = time.process_time() - start
    if entry.explains == "box":
        seconds += setting.box_seconds
    found = _scored(scores.double().numpy(), truth, problem.passages_test)
    shown = top_words(scores, rows, [int(marks.sum()) for marks in truth])
    measures = found | {
        "evalx_at_k": judge.accuracy(rows, y, shown),
        "train_seconds": seconds,
        "kl_at_k": _divergence(box, rows, shown),
    }
    if lex is None:
        return measures
    mode, real = lex.law.mode(lex.logits(rows)), rows != PADDING
    answers = lex.log_probs(rows, mode[None, None], torch.Generator().manual_seed(0))[0, 0]
    own = float((answers.exp().mean(1).argmax(-1).numpy() == y).mean())
    judged = judge.accuracy(rows, y, mode)
    wide = np.zeros(rows.shape, dtype=bool)
    for row, marks in zip(wide, truth, strict=True):
        row[: len(marks)] = marks
    picked = mode.numpy()
    return measures | {
        "tpr": float(((picked & wide).sum(1) / wide.sum(1)).mean()),
        "fdr": float(((picked & ~wide).sum(1) / np.maximum(picked.sum(1), 1)).mean()),
        "rate": float(mode[real].double().mean()),
        "inclusion_rate": float(lex.law.inclusion(lex.logits(rows))[real].mean()),
        "own_accuracy": own,
        "evalx_accuracy": judged,
        "gap": own - judged,
        "leaks": float(leaks(own, judged)),
    }


def _scored(
    scores: Floats,
    truth: list[NDArray[np.bool_]],
    passages: list[NDArray[np.int64]] | None = None,
) -> dict[str, float]:
    """TPR@k, AUROC and AUPRC, means over texts, of the words that each text has.

    Where people marked passages, a word's rank is that of its passage's mean score.
    """
    from bench.selection_metrics import auroc, average_precision, tpr_at_k

    found = []
    for i, marks in enumerate(truth):
        row = scores[i, : len(marks)]
        if passages is not None:
            sizes = np.bincount(passages[i]).clip(1)
            row = (np.bincount(passages[i], row) / sizes)[passages[i]]
        pair = (row[None], marks[None])
        found.append([measure(*pair)[0] for measure in (tpr_at_k, auroc, average_precision)])
    names = ("tpr_at_k", "auroc", "auprc")
    return dict(zip(names, np.mean(found, 0).tolist(), strict=True))


def top_words(scores: Tensor, rows: Tensor, sizes: list[int]) -> Tensor:
    """The best-scored words of each text, bool `(b, n)`: as many as `sizes` says, never padding."""
    place = (
        scores.masked_fill(rows == PADDING, -torch.inf).argsort(-1, descending=True).argsort(-1)
    )
    return (place < torch.tensor(sizes)[:, None]) & (rows != PADDING)


def _divergence(box: WordBox, rows: Tensor, shown: Tensor) -> float:
    """Mean KL divergence of the box's answer to the shown words from that to all."""
    full = torch.log_softmax(box.net(rows), -1)
    part = torch.log_softmax(box.net(torch.where(shown, rows, PADDING)), -1)
    return float((full.exp() * (full - part)).sum(-1).mean())
