"""The Green-AI account: what an explainer costs to make, what it saves, and when that is even.

Operations are those of matrix products that torch counts. Joules are read where the machine has a
counter, everything else on it included; elsewhere they are "not measurable".
"""

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from amortized import AmortizedExplainer, worth_evaluations
from amortized.fitting import LabelledRows
from amortized.labelled import Labels
from amortized.objectives import make_objective
from bench.costs import break_even, count_flops, open_meters
from bench.text_bench import Bench, saved

NOT_MEASURABLE = "not measurable"

BATCH = 32
"""Texts of one step of the training, and of the samples that are counted."""


def energy(bench: Bench, evaluations: int = 2000, probe: int = 16) -> dict[str, Any]:
    """Operations and joules of a pass and of sampling, of the training, and the break-even.

    Args:
        bench: Whose folder holds a trained explainer.
        evaluations: Of the packed sampler that stands for a ground truth.
        probe: Texts that sampling and labelling are counted on.

    Returns:
        `flops` per text of one pass, of one pair, of the sampler, and of sampling with the
        explainer's own error; `training_flops` of labels and of steps; `break_even` in
        explanations; `joules` of pass and sampler per text.

    Raises:
        ValueError: If the explainer in the folder was not trained.
    """
    explainer = saved(bench)
    measures = explainer.config.measures or {}
    if "examples" not in measures:
        raise ValueError(f"the explainer in {bench.folder} was not trained; run quality first.")
    few = bench.test[:probe]
    players = statistics.mean(len(names) for names in bench.model(few).players)
    variance = measures["pair_variance"]
    equal = np.nan
    if variance is not None:
        mse = statistics.mean(measures["mse"])
        equal = worth_evaluations(mse, statistics.mean(variance), players)
    calls: dict[str, Callable[[], Any]] = {
        "pass": lambda: explainer.explain(bench.test),
        "pair": lambda: Labels.now(bench.model, few, 1),
        "sampler": lambda: sampled(bench, few, evaluations),
    }
    sizes = {"pass": len(bench.test), "pair": len(few), "sampler": len(few)}
    flops = {name: count_flops(call) / sizes[name] for name, call in calls.items()}
    # a pair costs 2 n coalitions; sampling costs in proportion
    flops["equal_error"] = flops["pair"] * equal / (2 + 2 * max(0.0, players - 1))
    training = training_flops(explainer, bench, flops["pair"])
    whole = sum(training.values())
    return {
        "evaluations": evaluations,
        "worth_evaluations": equal,
        "flops": flops,
        "training_flops": training,
        "break_even": {
            name: break_even(whole, flops["pass"], flops[name])
            for name in ("sampler", "equal_error")
        },
        "joules": {name: joules(call) for name, call in calls.items() if name != "pair"},
    }


def sampled(bench: Bench, texts: list[Any], evaluations: int) -> None:
    """Packed sampling of each text."""
    from baselines import permutation_shapley

    for text in texts:
        permutation_shapley(bench.model([text]), evaluations)


def training_flops(explainer: AmortizedExplainer, bench: Bench, pair: float) -> dict[str, float]:
    """Operations of the labels and of all steps of a training, forwards and backwards.

    Args:
        explainer: Trained; its measures say on how many labels, and for how many passes.
        bench: Its bench.
        pair: Operations of one pair of one text.
    """
    measures = explainer.config.measures or {}
    texts = bench.train[: min(BATCH, len(bench.train))]
    rows = LabelledRows(explainer, Labels.now(bench.model, texts, 1))
    batch = rows[torch.arange(len(texts))]
    chosen = make_objective(measures["objective"])
    draws = torch.Generator().manual_seed(0)

    def step() -> None:
        said = explainer.predict(batch.inputs, batch.ends)
        chosen(said, batch, explainer.scale, draws).backward()
        explainer.zero_grad()

    each = count_flops(step) / len(texts)
    examples = measures["examples"]
    # one text in sixteen has a second pair; what is held out is labelled, too
    share = examples * (17 / 16) / 0.9
    return {"labels": pair * share, "steps": each * examples * measures["epochs"]}


def joules(call: Callable[[], Any]) -> float | str:
    """Joules of a call, or that this machine cannot tell."""
    with open_meters() as meters:
        call()
    return float(meters.joules) if np.isfinite(meters.joules) else NOT_MEASURABLE
