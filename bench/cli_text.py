"""Texts at the command line: train on a file of texts and labels, explain texts."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.explained import keep_explained
from bench.problems.text_data import TEXT_SETS, TextData, load_texts, read_texts

if TYPE_CHECKING:
    from baselines.explanation import Explanation
    from bench.pages import Section
    from harsanyi.texts import HarsanyiForTextClassification


def train_text(
    data: str,
    out: Path,
    *,
    players: str = "",
    design: str = "sum",
    epochs: int | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    progress: bool = True,
) -> tuple[dict[str, Any], str]:
    """Train on a file of texts and labels, save the model, and score it on held-out texts.

    Args:
        data: CSV, TSV, JSON lines or parquet with columns text (or sentence) and label; text_pair
            makes pairs. Or one of `TEXT_SETS`, which bring a test part of their own.
        out: Folder for the model; a killed training continues from it.
        players: "words" (default) or "tokens".
        design: As `from_texts` takes it.
        epochs: Passes over the texts; None takes the default.
        test_share: Share of a file's texts held out.
        seed: Of every random choice.
        progress: Show a bar.

    Returns:
        Facts for programs, words for people.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has no labels or one class only, or an option is unknown.
    """
    from harsanyi.texts import HarsanyiForTextClassification

    if players not in ("", "words", "tokens"):
        raise ValueError(f"--players {players!r}; choose words or tokens for texts.")
    train, test = _parts(data, test_share, seed)
    names = [train.classes[label] for label in train.labels or ()]
    options: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    start = time.perf_counter()
    model = HarsanyiForTextClassification.from_texts(
        train.texts,
        names,
        players="tokens" if players == "tokens" else "words",
        design=design,
        random_state=seed,
        checkpoint_dir=out / "checkpoints",
        progress=progress,
        **options,
    )
    seconds = time.perf_counter() - start
    truth = [test.classes[label] for label in test.labels or ()]
    score = model.score(test.texts, truth)
    masked = _half_absent(model, test, truth, seed)
    model.config.measures = {"rows": len(test), "score": score, "masked_score": masked}
    model.save_pretrained(out)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    words = (
        f"texts, {len(train):,} of them, {len(train.classes)} classes, "
        f"{model.config.vocab_size:,} known {model.config.unit}"
        f"\naccuracy {score:.4f} on {len(test):,} held-out texts; "
        f"{masked:.4f} with a random half of the players absent"
        f'\nmodel written to {out}; next: harsanyi explain {out} --text "..."'
    )
    facts = {"model": str(out), "classes": list(train.classes), "seconds": seconds}
    return {**facts, **model.config.measures}, words


def _parts(data: str, test_share: float, seed: int) -> tuple[TextData, TextData]:
    if data in TEXT_SETS and not Path(data).exists():
        return load_texts(data), load_texts(data, "test")
    if not 0 < test_share < 1:
        raise ValueError(f"--test-share {test_share}; a share between 0 and 1 is needed.")
    found = read_texts(data)
    if found.labels is None:
        raise ValueError(f"{data} has no column label; training needs one.")
    mixed = found.first(len(found), seed)
    cut = len(mixed) - max(1, round(test_share * len(mixed)))
    if cut < 1:
        raise ValueError(f"{data} has {len(mixed)} texts; too few to hold one out.")

    def part(rows: slice) -> TextData:
        return TextData(mixed.name, mixed.texts[rows], (mixed.labels or [])[rows], mixed.classes)

    return part(slice(0, cut)), part(slice(cut, None))


def _half_absent(
    model: "HarsanyiForTextClassification", test: TextData, truth: Sequence[str], seed: int
) -> float:
    """Accuracy with a random half of the players absent."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    longest = max(len(names) for names in model._data(list(test.texts))[3])
    present = torch.rand(len(test), longest, generator=generator) < 0.5
    found = model.logits(test.texts, present).argmax(1).tolist()
    right = [model.classes_[i] == y for i, y in zip(found, truth, strict=True)]
    return sum(right) / len(right)


def explain_text(
    model: Path,
    texts: Sequence[str],
    data: Path | None = None,
    *,
    html: Path | None = None,
    out: Path | None = None,
    top: int = 5,
    command: str = "harsanyi explain",
) -> tuple[dict[str, Any], Any]:
    """Explain texts exactly: shaded words, and the pairs that matter together.

    Args:
        model: Folder of a trained model.
        texts: Texts, or none for the file's.
        data: A file of texts, as `read_texts` takes it, or None.
        html: Page of heat maps to write.
        out: Values to write, as safetensors.
        top: Players and pairs to name per text.
        command: How it was called.

    Returns:
        Facts for programs, and what rich prints for people.

    Raises:
        ValueError: If there is nothing to explain.
    """
    from harsanyi.texts import HarsanyiForTextClassification

    fitted = HarsanyiForTextClassification.from_pretrained(model)
    rows: list[Any] = list(texts)
    if data is not None:
        rows += read_texts(data).texts
    if not rows:
        raise ValueError('nothing to explain; pass --text "..." or a file of texts.')
    start = time.perf_counter()
    explanation = fitted.explain(rows)
    milliseconds = 1000 * (time.perf_counter() - start) / len(rows)
    predicted = [str(label) for label in fitted.predict(rows)]
    written = keep_explained(
        explanation,
        out=out,
        html=html,
        of="texts",
        what="texts",
        sections=lambda: [heat_maps(fitted, explanation, rows)],
        command=command,
    )
    outputs = (
        [explanation.output_position(label) for label in predicted] if fitted.classes_ else []
    )
    facts = {
        "texts": len(rows),
        "outputs": list(explanation.output_names()),
        "predictions": predicted,
        "exact": explanation.exact,
        "game": explanation.game,
        "additivity_gap": float(explanation.diagnostics["additivity_gap"].abs().max()),
        "ms_per_text": milliseconds,
        "top": [
            _top_pairs(fitted, text, output, top)
            for text, output in zip(rows[:20], outputs or [0] * len(rows), strict=False)
        ],
        "written": written,
    }
    return facts, _shown(explanation, rows, facts, outputs)


def _top_pairs(
    fitted: "HarsanyiForTextClassification",
    text: Any,  # noqa: ANN401 - a text or a pair
    output: int,
    top: int,
) -> list[tuple[str, float]]:
    """Words and pairs of largest value, named."""
    if not fitted.explain([text]).shape[1]:
        return []
    found = fitted.interactions([text], order=2).top(top, 0, output)
    return [(" & ".join(names), value) for names, value in found]


def _shown(
    explanation: "Explanation", rows: Sequence[Any], facts: dict[str, Any], outputs: Sequence[int]
) -> Any:  # noqa: ANN401 - a rich renderable
    from rich.console import Group
    from rich.text import Text

    lines: list[Any] = []
    for row, label in enumerate(facts["predictions"][:20]):
        output = outputs[row] if outputs else 0
        heat = explanation.plot.text(row, output).__rich__()
        lines.append(Text(f"{label}: ", style="bold").append(heat))
        pairs = ", ".join(f"{names} {value:+.2f}" for names, value in facts["top"][row])
        lines.append(Text(f"  {pairs}", style="dim"))
    if len(rows) > 20:
        lines.append(Text(f"... and {len(rows) - 20} more"))
    lines += [Text(f"wrote {path}") for path in facts["written"]]
    return Group(*lines)


def heat_maps(
    fitted: "HarsanyiForTextClassification",
    explanation: "Explanation",
    texts: Sequence[Any],
    most: int = 40,
) -> "Section":
    """A section of a page: texts shaded by their values, each with its top interactions.

    Args:
        fitted: The model.
        explanation: Its explanation of the texts.
        texts: The same texts.
        most: Texts to show.
    """
    from bench.pages import Reading, Section

    predicted = fitted.predict(texts[:most])
    shaded = []
    for row, label in enumerate(predicted):
        output = explanation.output_position(str(label)) if fitted.classes_ else 0
        found = _top_pairs(fitted, texts[row], output, 5)
        together = ", ".join(f"{names} {value:+.2f}" for names, value in found)
        shaded.append(Reading(explanation.plot.text(row, output), together))
    words = (
        f"Exact Shapley values of {explanation.game}, for the output that is predicted, which "
        "stands above each text. Orange raises it, blue lowers it; a value is in the tooltip of its "
        "word. Below each text the words and pairs that matter most, k-SII of order 2."
    )
    return Section("Texts", words, texts=shaded)
