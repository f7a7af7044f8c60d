"""Amortized explainers at the command line: label texts, train on them, explain with a folder."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amortized.explainer import AmortizedExplainer
    from amortized.labels import LabelStore
    from baselines.explanation import Explanation


def train_explainer(
    data: str,
    out: Path,
    *,
    target_model: str,
    players: str = "",
    removal: str = "drop",
    pairs: int = 1,
    epochs: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> tuple[dict[str, Any], str]:
    """Label the texts of a file under a model, train an explainer on them, and save it.

    Labels lie in `out/labels` and checkpoints in `out/checkpoints`: the same command continues
    whatever was interrupted, and in several processes the labels are shared among them.

    Args:
        data: A file of texts or one of the text sets; labels of classes are not needed.
        out: Folder of the explainer.
        target_model: Folder or hub name of the explained classifier.
        players: "word" (default), "token" or "sentence".
        removal: "drop", "mask" or "pad".
        pairs: Antithetic pairs per text.
        epochs: Passes over the labels; None takes the default.
        seed: Of pairs and training.
        progress: Show bars.

    Returns:
        Facts for programs, words for people.

    Raises:
        ValueError: If no model is named, or the folder holds labels of another game.
    """
    from amortized import AmortizedExplainer, LabelStore

    if not target_model:
        raise ValueError("which model is to be explained? Pass --target-model DIR.")
    model = target(target_model, players, removal)
    texts = read(data)
    store = LabelStore(out / "labels")
    store.generate(model, texts, pairs, seed=seed, progress=progress)
    explainer = AmortizedExplainer.from_target(model, normalizer="additive")
    explainer.fit(
        store, epochs=epochs, key=seed, checkpoint_dir=out / "checkpoints", progress=progress
    )
    explainer.save_pretrained(out)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    facts, words = verdict(explainer)
    facts |= {"explainer": str(out), "texts": len(store)}
    words += f'\nexplainer written to {out}; next: harsanyi explain {out} --text "..."'
    return facts, words


def verdict(explainer: "AmortizedExplainer") -> tuple[dict[str, Any], str]:
    """How good an explainer is by its own held-out measures.

    Args:
        explainer: Trained.

    Returns:
        Facts for programs, words for people.
    """
    measures = explainer.config.measures or {}
    share = [error / rms**2 for error, rms in zip(measures["mse"], measures["rms"], strict=True)]
    facts = {"measures": measures, "relative_mse": share}
    worst = max(range(len(share)), key=lambda output: share[output])
    words = (
        f"{measures['examples']:,} examples, {measures['evaluations']:,} evaluations of labels; "
        f"held-out squared error {share[worst]:.1%} of the values' own size"
    )
    spread = measures.get("pair_variance")
    if spread is not None:
        pairs = [v / e for v, e in zip(spread, measures["mse"], strict=True)]
        facts["worth_pairs"] = pairs
        words += f", as good as {min(pairs):.2g} antithetic pairs of direct sampling"
    return facts, words


def explain_saved(
    folder: Path,
    texts: list[str],
    data: Path | None,
    *,
    out: Path | None = None,
    html: Path | None = None,
    top: int = 5,
    command: str = "",
    refine: int = 0,
    target_model: str = "",
) -> tuple[dict[str, Any], str]:
    """Explain texts with a saved explainer.

    Args:
        folder: From `train_explainer` or `save_pretrained`.
        texts: Texts to explain.
        data: A file of texts in their place.
        out: Explanation to write, as safetensors.
        html: Page to write.
        top: Players to print per text.
        command: What was typed, for the page.
        refine: Fresh antithetic pairs per text.
        target_model: The explained model, for refinement; by default the one it was trained for.

    Returns:
        Facts for programs, words for people.

    Raises:
        ValueError: If there is nothing to explain, or the model is not the explainer's.
    """
    from amortized import AmortizedExplainer

    explainer = AmortizedExplainer.from_pretrained(folder)
    given: list[Any] = list(texts) if texts else ([] if data is None else read(str(data)))
    if not given:
        raise ValueError("what is to be explained? Pass --text, or a file of texts.")
    if refine:
        explainer.attach(_target_of(explainer, target_model))
    said = explainer.explain(given, refine)
    written = []
    if out is not None:
        said.save(out)
        written.append(str(out))
    if html is not None:
        write_texts_page(said, html, folder.name, command)
        written.append(str(html))
    shown = [_line(said, row, top) for row in range(min(len(said), 10))]
    cut = int((said.diagnostics["n_cut"] > 0).sum())
    if cut:
        shown.append(f"{cut} of {len(said)} texts are longer than the model reads, and were cut")
    facts = {
        "texts": len(said),
        "cut": cut,
        "outputs": list(said.output_names()),
        "method": said.method,
        "exact": said.exact,
        "top": [_largest(said, row, top)[1] for row in range(len(said))],
        "written": written,
    }
    words = "\n".join([*shown, *(f"wrote {path}" for path in written)])
    return facts, words


def write_texts_page(said: "Explanation", path: Path, name: str, command: str) -> None:
    """One page with the heat maps of the first texts.

    Args:
        said: Explanations of texts.
        path: Page to write.
        name: Of the explainer.
        command: What was typed.
    """
    from bench.demo import versions
    from bench.pages import Reading, Section, write_page
    from bench.provenance import provenance

    made = {"command": command, **provenance(), "versions": versions()}
    shaded = [
        Reading(said.plot.text(row, _largest(said, row, 1)[0]))
        for row in range(min(len(said), 40))
    ]
    words = (
        f"Estimates of Shapley values of {said.game} by {said.method}, for the output that moves "
        "most, which stands above each text. Orange raises it, blue lowers it; a value is in the tooltip of its word."
    )
    lead = f"{len(said):,} texts, explained by {name}; estimates, not exact values."
    section = Section("Texts", words, texts=shaded)
    write_page(path, f"Explanations by {name}", lead, [section], made)


def plan_labels(
    folder: Path,
    data: str,
    *,
    target_model: str,
    players: str = "",
    removal: str = "drop",
    pairs: int = 1,
    seed: int = 0,
    shard_size: int = 64,
) -> tuple[dict[str, Any], str]:
    """Plan labels of texts and say what they will cost.

    Args:
        folder: Of the store.
        data: A file of texts or one of the text sets.
        target_model: Folder or hub name of the explained classifier.
        players: What plays.
        removal: What becomes of absent players.
        pairs: Antithetic pairs per text.
        seed: Of the pairs.
        shard_size: Texts in a shard.
    """
    from amortized import LabelStore

    model = target(target_model, players, removal)
    store = LabelStore(folder)
    store.plan(model, read(data), pairs, seed=seed, shard_size=shard_size)
    cost = store.cost(model)
    facts = {
        "folder": str(folder),
        "texts": len(store),
        "evaluations": cost.evaluations,
        "hours": cost.hours,
        "bytes": cost.bytes,
    }
    return facts, str(cost)


def is_label_store(folder: Path) -> bool:
    """Whether a folder is a label store, not a truth of a named problem."""
    return (folder / "store.json").is_file()


def run_labels(folder: Path, progress: bool = True) -> list[str]:
    """Make what a planned store lacks, with the model that it was planned for.

    Args:
        folder: Of the store.
        progress: Show a bar.

    Returns:
        Names of the shards written.

    Raises:
        ValueError: If the store does not know where its model lies, or it has changed.
    """
    from amortized import LabelStore

    store = LabelStore(folder)
    return store.run(_planned_model(store), progress=progress)


def target(name: str, players: str = "", removal: str = "drop", **options: Any) -> Any:  # noqa: ANN401
    """A text model by folder or hub name.

    Args:
        name: Folder or hub name.
        players: "word" when empty.
        removal: "drop", "mask" or "pad".
        options: As `TextModel` takes them.
    """
    from baselines import TextModel

    kind: Any = {"": "word", "words": "word", "tokens": "token"}.get(players, players)
    way: Any = removal
    return TextModel.from_pretrained(name, players=kind, removal=way, **options)


def read(data: str) -> list[Any]:
    """The texts of a file or text set, blank ones left out.

    Raises:
        ValueError: If none is left.
    """
    from amortized.examples import is_blank
    from bench.problems.text_data import TEXT_SETS, load_texts, read_texts

    known = data in TEXT_SETS and not Path(data).exists()
    found = load_texts(data) if known else read_texts(data)
    texts = [text for text in found.texts if not is_blank(text)]
    if not texts:
        raise ValueError(f"{data} holds no text with a word in it.")
    return texts


def _planned_model(store: "LabelStore") -> Any:  # noqa: ANN401 - a TextModel
    said = dict(store.card.target or {})
    if not said:
        raise ValueError(
            f"{store.path} does not know where its model lies; run it from Python: "
            "LabelStore(path).run(model)."
        )
    return target(said.pop("path"), **said)


def _target_of(explainer: "AmortizedExplainer", given: str) -> Any:  # noqa: ANN401 - a TextModel
    card = explainer.card
    said = dict((card.target if card else None) or {})
    where = given or said.pop("path", "")
    if not where:
        raise ValueError("--refine asks the explained model: pass --target-model DIR.")
    said.pop("path", None)
    return target(where, **said)


def _largest(said: "Explanation", row: int, top: int) -> tuple[str, list[tuple[str, float]]]:
    """The output that moves most, and the players that move it most, in order of size."""
    names = said.player_names(row)
    values = said.values[row, : len(names)]
    output = int(values.abs().sum(0).argmax())
    order = values[:, output].abs().argsort(descending=True, stable=True)[:top].tolist()
    return said.output_names()[output], [(names[i], float(values[i, output])) for i in order]


def _line(said: "Explanation", row: int, top: int) -> str:
    output, largest = _largest(said, row, top)
    moved = ", ".join(f"{name} {value:+.3g}" for name, value in largest)
    return f"{row}  {output}: {moved}"
