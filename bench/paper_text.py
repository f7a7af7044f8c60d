"""Studies of amortized explainers on text targets: what one pass is worth, and what it costs.

    python -m bench.paper_text quality --target sst2/bert2 --out out/text

Each study reads and writes one folder: labels and truth are stores that a killed run resumes, and
`<study>.json` holds what was measured.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amortized import AmortizedExplainer, LabelStore, worth_evaluations
from amortized.explaining import multiplied
from baselines.explanation import Explanation
from baselines.files import atomic_write
from baselines.text_networks import ByAttention
from bench import metrics
from bench.provenance import provenance
from bench.text_bench import FRESH, Bench, judged, load_bench, saved
from bench.text_calibration import calibration
from bench.text_energy import energy
from bench.text_transfer import transfer


def quality(bench: Bench, texts: int | None = None) -> dict[str, Any]:
    """One explainer against the ceiling, against fresh pairs, refined, and its intervals."""
    labels, truth = bench.labels(texts), bench.truth()
    start = time.process_time()
    explainer = bench.explainer(labels)
    seconds = time.process_time() - start
    explainer.save_pretrained(bench.folder / "explainer")
    said = explainer.explain(bench.test)
    low = explainer.explain(bench.test, precision="bf16")
    found: dict[str, Any] = {
        "texts": len(labels),
        "label_evaluations": int(labels.coalitions.sum()),
        "train_cpu_seconds": seconds,
        "ceiling": float(np.nanmean(metrics.spearman_ceiling(truth))),
        "truth_noise": float(np.mean(metrics.noise_floor(truth))),
        "scale": float(np.mean(metrics.squared_scale(truth))),
        "amortized": judged(said, truth),
        "amortized_bf16": judged(low, truth),
        "direct": {p: judged(bench.fresh(p), truth) for p in FRESH},
        "refined": {},
    }
    for k in (1, 2, 5):
        found["refined"][k] = {
            "fused": judged(explainer.explain(bench.test, refine=k), truth),
            "direct": judged(bench.fresh(k), truth),
            "unbiased": judged(explainer.explain(bench.test, refine=k, unbiased=True), truth),
        }
    found["worth"] = worth(found, bench)
    found["intervals"] = intervals(explainer, bench, truth)
    return found


def worth(found: dict[str, Any], bench: Bench) -> dict[str, float]:
    """Pairs and evaluations of direct sampling with the explainer's squared error."""
    variance = statistics.mean(p * one["mse"] for p, one in found["direct"].items())
    players = statistics.mean(len(p) for p in bench.model(bench.test).players)
    mse = found["amortized"]["mse"]
    return {
        "pair_variance": variance,
        "players": players,
        "pairs": variance / mse,
        "evaluations": worth_evaluations(mse, variance, players),
    }


def intervals(explainer: AmortizedExplainer, bench: Bench, truth: Explanation) -> dict[str, float]:
    """Coverage on one half of the texts of intervals calibrated on the other."""
    half = len(bench.test) // 2
    explainer.calibrate(bench.test[:half], truth.select(slice(0, half)), levels=(0.8, 0.9))
    said = explainer.explain(bench.test[half:], level=0.9)
    wanted = truth.select(slice(half, None)).values[:, : said.shape[1]]
    inside = (said.values - wanted).abs() <= said.diagnostics["half_width"]
    assert said.player_mask is not None  # texts are ragged
    real = said.player_mask[..., None].expand_as(inside)
    told = said.std_errors
    assert told is not None  # the default explainer predicts its error
    ratio = ((said.values - wanted)[real].square().mean() / told[real].square().mean()).sqrt()
    return {"coverage_90": float(inside[real].float().mean()), "error_over_told": float(ratio)}


def split(bench: Bench, budget: int = 1600, seeds: int = 3) -> dict[str, Any]:
    """The same pairs and steps, spent on many texts or on few: squared error by pairs per text."""
    truth, found = bench.truth(), {}
    for pairs in (1, 4, 16):
        runs = []
        for seed in range(seeds):
            texts = budget // pairs
            start = seed * texts % max(1, len(bench.train) - texts + 1)
            part = dataclasses.replace(bench, train=bench.train[start : start + texts])
            store = LabelStore(bench.folder / f"split-{pairs}-{seed}")
            how: dict[str, Any] = {"probe": False, "seed": seed, "progress": False}
            labels = store.generate(part.model, part.train, pairs, **how).labels()
            passes = -(-bench.steps * 32 // len(labels))
            words = {"epochs": passes, "patience": passes, "validation": 0.2}
            explainer = part.explainer(labels, key=seed, **words)
            runs.append(judged(explainer.explain(bench.test), truth))
        found[pairs] = {"texts": budget // pairs, "runs": runs}
    return found


def learning(bench: Bench, shares: Sequence[float] = (0.1, 0.3, 1.0)) -> dict[str, Any]:
    """Quality by the share of labels that training sees."""
    truth, labels = bench.truth(), bench.labels()
    found = {}
    for share in shares:
        part = labels.select(range(int(share * len(labels))))
        said = bench.explainer(part).explain(bench.test)
        found[share] = {"texts": len(part), **judged(said, truth)}
    return found


def stability(bench: Bench, seeds: int = 3) -> dict[str, Any]:
    """Agreement between explainers of different training seeds, and of label draws."""
    truth, labels = bench.truth(), bench.labels()
    said = [bench.explainer(labels, key=seed).explain(bench.test) for seed in range(seeds)]
    pairs = [(a, b) for i, a in enumerate(said) for b in said[i + 1 :]]
    agree = [float(np.nanmean(metrics.spearman(a, as_truth(b)))) for a, b in pairs]
    fresh = [bench.fresh(1), bench.truth()]
    return {
        "seeds": seeds,
        "spearman_between_seeds": statistics.mean(agree),
        "runs": [judged(one, truth) for one in said],
        "one_pair": judged(fresh[0], truth),
        "sensitivity": float(np.mean(metrics.seed_sensitivity(said))),
    }


def as_truth(said: Explanation) -> Explanation:
    """An explanation as if it were exact, for agreement between two of them."""
    return dataclasses.replace(said, std_errors=torch.zeros_like(said.values))


def masking(bench: Bench, shares: Sequence[float] = (0.05, 0.1, 0.2, 0.5)) -> dict[str, Any]:
    """Accuracy of the target after the words of largest value for its decision are removed."""
    if bench.y is None:
        raise ValueError("masking needs labelled test texts.")
    explainer, truth, game = saved(bench), bench.truth(), bench.model(bench.test)
    mask, count = game.player_mask, game.player_mask.sum(1)
    whole = game(mask[:, None])[:, 0]
    decided = whole.argmax(-1)
    y = torch.tensor(bench.y)
    draws = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
    ranked = {"amortized": explainer.explain(bench.test).values, "truth": truth.values}
    ranked["one pair"] = bench.fresh(1).values
    found: dict[str, Any] = {"unmasked": float((decided == y).float().mean())}
    for name, values in {**ranked, "random": None}.items():
        score = draws
        if values is not None:
            score = values[torch.arange(len(values)), :, decided]
        place = score.masked_fill(~mask, -torch.inf).argsort(1, descending=True).argsort(1)
        gone = [place < (share * count).ceil()[:, None] for share in shares]
        left = torch.stack([mask & ~one for one in gone], 1)
        answer = game(left).argmax(-1)
        found[name] = {s: float((answer[:, i] == y).float().mean()) for i, s in enumerate(shares)}
    return found


def speed(bench: Bench, evaluations: int = 2000, rounds: int = 4) -> dict[str, Any]:
    """CPU seconds per text of one pass, of packed sampling and of captum; one thread, in turns.

    Batches of one and the sampler have the same texts, which are among those of the batch of 64.
    """
    from baselines import permutation_shapley

    explainer = saved(bench)
    texts = (bench.test * (64 // len(bench.test) + 1))[:64]
    few, slow = texts[:12], texts[:3]
    encoder: Any = explainer.encoder
    read = encoder.read(texts)

    def each(call: Callable[[Any], Any], given: Sequence[Any]) -> list[Callable[[], Any]]:
        return [partial(call, one) for one in given]

    seconds = cpu_in_turns(
        {
            "sampler": each(lambda x: permutation_shapley(bench.model([x]), evaluations), few),
            "pass_1": each(lambda x: forward(explainer, [x]), read[: len(few)]),
            "pass_64": each(lambda x: forward(explainer, x), [read]),
            "explain_1": each(lambda x: explainer.explain([x]), few),
            "explain_64": each(explainer.explain, [texts]),
            "pass_1_bf16": each(lambda x: forward(explainer, [x], "bf16"), read[: len(few)]),
            "pass_64_bf16": each(lambda x: forward(explainer, x, "bf16"), [read]),
        },
        rounds,
    )
    found = {name: took / (64 if "_64" in name else len(few)) for name, took in seconds.items()}
    passes = [name for name in found if name != "sampler"]
    found |= {f"speed_up_{name}": found["sampler"] / found[name] for name in passes}
    if find_spec("captum"):
        beside = cpu_in_turns(
            {
                "captum": each(lambda x: captum(bench, x, evaluations), slow),
                "pass": each(lambda x: forward(explainer, [x]), read[: len(slow)]),
            },
            2,
        )
        found["captum"] = beside["captum"] / len(slow)
        found["speed_up_over_captum_pass_1"] = beside["captum"] / beside["pass"]
        found["speed_up_over_captum_pass_64"] = found["captum"] / found["pass_64"]
    return {"evaluations": evaluations, "threads": torch.get_num_threads(), **found}


def captum(bench: Bench, text: Any, evaluations: int) -> None:  # noqa: ANN401 - a text or pair
    """Captum's ShapleyValueSampling as it comes, on one text and the plain model."""
    from captum.attr import ShapleyValueSampling

    game, plain = bench.model([text]), ByAttention(bench.model.network)

    def values(masks: torch.Tensor) -> torch.Tensor:
        rows = torch.zeros(len(masks), dtype=torch.int64)
        return plain.read(game.table, rows, masks.bool())[:, 1]

    n = game.n_players
    with torch.no_grad():
        ShapleyValueSampling(values).attribute(
            torch.ones(1, n), baselines=0, n_samples=max(1, evaluations // n)
        )


def forward(
    explainer: AmortizedExplainer, read: list[Any], precision: str = "full"
) -> torch.Tensor:
    """Values of texts that were tokenized before."""
    with torch.inference_mode(), multiplied(explainer.scale.device, precision):
        return explainer.predict(explainer.encoder.pack(read)).values  # pyright: ignore[reportArgumentType] - texts


def cpu_in_turns(
    jobs: dict[str, list[Callable[[], Any]]], rounds: int, span: float = 0.2
) -> dict[str, float]:
    """CPU seconds of jobs that take turns, so that load on the machine slows all of them alike.

    Args:
        jobs: Calls by name; all of a job's are run, again and again until `span` is over.
        rounds: Turns of each job, after a call to warm up.
        span: CPU seconds of a turn, at least.

    Returns:
        Seconds of one run of a job's calls: the mean within a turn, the median over turns.
    """
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    for calls in jobs.values():
        calls[0]()
    for _ in range(rounds):
        for name, calls in jobs.items():
            start, runs, took = time.process_time(), 0, 0.0
            while took < span:
                for call in calls:
                    call()
                runs, took = runs + 1, time.process_time() - start
            spent[name].append(took / runs)
    return {name: statistics.median(each) for name, each in spent.items()}


STUDIES: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "quality": quality,
    "speed": speed,
    "masking": masking,
    "calibration": calibration,
    "energy": energy,
    "transfer": transfer,
    "stability": stability,
    "learning": learning,
    "split": split,
}
"""Studies by name, in an order in which each finds what it needs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run studies and write down what they measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("studies", nargs="+", choices=[*STUDIES, "all"], metavar="STUDY")
    parser.add_argument("--target", default="sst2/bert2")
    parser.add_argument("--out", type=Path, default=Path("out/text"))
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--tests", type=int, default=100)
    parser.add_argument("--least", type=int, default=8, help="words of a training text, at least")
    parser.add_argument("--target-model", default="", help="folder or hub name of another target")
    parser.add_argument("--epochs", type=int, default=None, help="passes over the labels")
    parser.add_argument("--normalizer", default="additive", help="none, additive or precision")
    parser.add_argument("--layers", type=int, default=None, help="layers of the explainers")
    parser.add_argument("--steps", type=int, default=600, help="steps of each run of split")
    parser.add_argument("--unseen", action="store_true", help="label texts new to the target")
    given = parser.parse_args(arguments)
    words = ("texts", "tests", "least", "target_model", "unseen")
    bench = load_bench(given.target, given.out, **{word: getattr(given, word) for word in words})
    bench.epochs, bench.normalizer = given.epochs, given.normalizer
    bench.layers, bench.steps = given.layers, given.steps
    for name in STUDIES if "all" in given.studies else given.studies:
        start = time.process_time()
        found = STUDIES[name](bench)
        found |= {"cpu_seconds": time.process_time() - start, "made": provenance()}
        asked = {
            word: getattr(given, word) for word in ("target", "epochs", "normalizer", "layers")
        }
        text = json.dumps({"study": name, **asked, **found}, indent=1)
        atomic_write(bench.folder / f"{name}.json", text.encode())
        print(text, flush=True)


if __name__ == "__main__":
    main()
