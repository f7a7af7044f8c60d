"""One explainer on texts of another kind under the same target, which it was never shown.

Other domains, and pairs of texts where it learned from single ones; the domain of Yang et al. (2023),
an explainer of sentence pairs that is handed paraphrases, is `snli/bert2` on `mrpc`.
"""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from amortized.examples import is_blank
from bench import metrics
from bench.problems.text_data import load_texts
from bench.text_bench import FRESH, Bench, judged, saved

OTHERS: dict[str, tuple[str, ...]] = {
    "sst2": ("yelp", "snli", "mrpc"),
    "agnews": ("yelp",),
    "snli": ("mrpc",),
    "mrpc": ("snli",),
}
"""Text sets that an explainer of a set is handed."""


def transfer(bench: Bench, others: Sequence[str] | None = None) -> dict[str, Any]:
    """The explainer that `quality` left, at home and on other text sets, under its own target.

    Args:
        bench: Whose folder holds a trained explainer.
        others: Text sets, pairs or not; `OTHERS` of the target's own when None.

    Returns:
        By text set: players per text, texts that the target cuts, ceiling and scale of the truth,
        the explainer's error and rank agreement, and those of fresh pairs.

    Raises:
        FileNotFoundError: If `quality` was not run, or the data folder lacks the texts.
    """
    home = bench.name.split("/")[0]
    found = {home: on_texts(bench, bench.test, "truth")}
    for name in OTHERS.get(home, ("yelp",)) if others is None else others:
        drawn = load_texts(name, "test").first(len(bench.test)).texts
        texts = [text for text in drawn if not is_blank(text)]
        found[name] = on_texts(bench, texts, f"truth-{name}")
    return {"sets": found}


def on_texts(bench: Bench, texts: list[Any], name: str) -> dict[str, Any]:
    """The explainer and fresh pairs on some texts.

    Args:
        bench: Whose folder holds a trained explainer.
        texts: What is explained.
        name: Of the stores of truth in the folder.
    """
    explainer, truth, game = saved(bench), bench.truth(texts, name), bench.model(texts)
    ceiling = float(np.nanmean(metrics.spearman_ceiling(truth)))
    scale = float(np.mean(metrics.squared_scale(truth)))
    one = judged(explainer.explain(texts), truth)
    return {
        "texts": len(texts),
        "players": statistics.mean(len(names) for names in game.players),
        "cut": int((game.n_cut > 0).sum()),
        "ceiling": ceiling,
        "scale": scale,
        "amortized": one,
        "over_ceiling": one["spearman"] / ceiling,
        "relative_error": one["mse"] / scale,
        "direct": {p: judged(bench.fresh(p, texts), truth) for p in FRESH},
    }
