"""Published tables of amortized text explainers beside ours: Yang et al. and Empirical Explainers.

harsanyi paper yang2023 --out runs/yang       # a small target on templates, minutes
harsanyi paper yang2023 --out runs/yang --full   # SST-2 and AG News
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from baselines.files import atomic_write
from bench.papers import NOT_AVAILABLE, figure, head_lines, markdown, percent

TARGETS = ("templates/bert2",)
FULL_TARGETS = ("sst2/bert2", "agnews/bert2")


def yang2023(folder: Path, *, full: bool, seeds: int, command: str) -> str:
    """Yang et al. (2023): seed sensitivity, error and rank agreement, speed-up.

    Args:
        folder: Where labels, truth and results lie.
        full: Real texts and 4,000 labels.
        seeds: Trainings compared, at least two.
        command: What repeats the run.
    """
    targets = FULL_TARGETS if full else TARGETS
    found = {
        name: studies(folder, name, ("quality", "speed", "stability"), full) for name in targets
    }
    lines = head_lines("Efficient Shapley values by amortizing (Yang et al., ACL 2023)", command)
    rows = []
    for name, one in found.items():
        quality, speed, stable = one["quality"], one["speed"], one["stability"]
        said = (
            ("Spearman to truth", NOT_AVAILABLE, quality["amortized"]["spearman"]),
            ("the truth's own ceiling", NOT_AVAILABLE, quality["ceiling"]),
            ("squared error (values: squared)", NOT_AVAILABLE, quality["amortized"]["mse"]),
            ("mean squared value", NOT_AVAILABLE, quality["scale"]),
            ("Spearman between training seeds", NOT_AVAILABLE, stable["spearman_between_seeds"]),
            ("relative spread between seeds", NOT_AVAILABLE, stable["sensitivity"]),
            ("Spearman of one fresh pair", NOT_AVAILABLE, stable["one_pair"]["spearman"]),
            ("speed-up, batch of 1", "up to 60", speed["speed_up_pass_1"]),
            ("speed-up, batch of 64", "up to 60", speed["speed_up_pass_64"]),
            ("ms per text, batch of 1", "milliseconds", 1000 * speed["pass_1"]),
        )
        rows += [[name, what, theirs, figure(ours)] for what, theirs, ours in said]
    lines += [*markdown(("target", "figure", "published", "ours"), rows, words=2), ""]
    return "\n".join([*lines, *YANG]) + "\n"


YANG = (
    (
        "Published figures that could be read besides: KernelSHAP with 200 samples on a fine-tuned "
        "BERT and Yelp, 3.47 s an instance on one A100; FastSHAP's Spearman to 25 permutations, 0.23 "
        "on MNLI and 0.18 on Yelp; target accuracy 97.42 % (Yelp) and 84.65 % (MNLI). Tables 1 to 3 "
        f"and the learning curve could not be read by us: {NOT_AVAILABLE}."
    ),
    "",
    (
        "Why they differ. Their speed-up is against an unbatched sampler; ours is against packed "
        "sampling with 2,000 evaluations, in which both sides are batched. Their agreement is with a "
        "sample of 25 permutations that shares its noise; ours with a truth of two independent "
        "halves, net of its noise. Their seeds are measured on padded inputs with special tokens as "
        "players and drop ill-conditioned texts; ours has neither."
    ),
)


def empirical(folder: Path, *, full: bool, seeds: int, command: str) -> str:
    """Empirical Explainers (Schwarzenberg et al., 2021): convergence, calibration, energy.

    Args:
        folder: Where labels, truth and results lie.
        full: Real texts and 4,000 labels.
        seeds: Not taken: one explainer is placed on the curve.
        command: What repeats the run.
    """
    targets = FULL_TARGETS if full else TARGETS
    lines = head_lines("Empirical Explainers (Schwarzenberg et al., BlackboxNLP 2021)", command)
    rows = []
    found = {
        name: studies(folder, name, ("quality", "calibration", "energy"), full) for name in targets
    }
    for name in targets:
        quality = found[name]["quality"]
        scale, worth = quality["scale"], quality["worth"]
        for pairs, one in quality["direct"].items():
            cost = 2 * int(pairs) * max(1.0, worth["players"] - 1) + 2
            rows.append(
                [
                    name,
                    f"{pairs} pairs of orders",
                    figure(cost),
                    NOT_AVAILABLE,
                    figure(one["mse"] / scale),
                ]
            )
        rows.append(
            [
                name,
                "one pass of the explainer",
                "1",
                NOT_AVAILABLE,
                figure(quality["amortized"]["mse"] / scale),
            ]
        )
        rows.append(
            [name, "where the two cross", figure(worth["evaluations"]), NOT_AVAILABLE, "-"]
        )
    heads = ("target", "explainer", "evaluations", "published", "error")
    lines += [*markdown(heads, rows, words=2), "", *EMPIRICAL, ""]
    lines += energy_lines({name: one["energy"] for name, one in found.items()})
    lines += calibration_lines({name: one["calibration"] for name, one in found.items()})
    return "\n".join(lines) + "\n"


def energy_lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The Green-AI account as a section.

    Args:
        found: By target, what `text_energy.energy` says.
    """
    rows = []
    for name, one in found.items():
        flops, spent, even = one["flops"], one["training_flops"], one["break_even"]
        joules, number = one["joules"], one["evaluations"]
        told = (
            ("one pass", flops["pass"], joules["pass"], "-"),
            (f"sampler, {number:,} evaluations", flops["sampler"], joules["sampler"], "sampler"),
            ("sampler with the pass's error", flops["equal_error"], "-", "equal_error"),
            ("labels of the training", spent["labels"], "-", "-"),
            ("steps of the training", spent["steps"], "-", "-"),
        )
        for what, count, energy, against in told:
            paid = figure(even[against]) if against in even else "-"
            spell = energy if isinstance(energy, str) else figure(energy)
            rows.append([name, what, NOT_AVAILABLE, figure(count), spell, paid])
    heads = ("target", "what", "published", "FLOPs", "joules", "pays after")
    words = (
        "FLOPs of matrix products, per text or of the whole training; joules of the processor "
        "package where it has a counter that may be read. Pays after: explanations from which on "
        "labels and training are paid for by passes in place of that sampler."
    )
    return ["## Energy, net of the training", "", *markdown(heads, rows, words=3), "", words, ""]


def calibration_lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Calibration from explanations as a section.

    Args:
        found: By target, what `text_calibration.calibration` says.
    """
    rows = []
    for name, one in found.items():
        for what, said in one["features"].items():
            cells = [percent(said[word]) for word in ("accuracy", "right_at_25", "right_at_50")]
            sure = f"{said['auroc']:.3f} ({said['auroc_se']:.3f})"
            rows.append([name, what, figure(said["evaluations"]), NOT_AVAILABLE, sure, *cells])
    heads = ("target", "features", "evaluations", "published", "AUROC (SE)", "accuracy")
    one = next(iter(found.values()))
    words = (
        "A forest tells the target's right decisions from its wrong ones; each row adds to "
        "probabilities and kinds of words, the first two, what words of each kind are worth. Right: "
        "share of right decisions among the most confident quarter and half. "
        f"{one['learned_from']} texts to learn from, {one['splits']} random splits. Ye and Durrett "
        "(2022) take parts of speech from a tagger; kinds here come from a list."
    )
    table = markdown((*heads, "right at 25 %", "at 50 %"), rows, words=2)
    return ["## Calibration from explanations", "", *table, "", words]


EMPIRICAL = (
    (
        "Error: squared error over mean squared value, net of the truth's noise. The paper's curves "
        f"and the crossing could not be read by us: {NOT_AVAILABLE}. From its configuration follows "
        "the ratio of passes: 500 to 900 to 1 for 20 permutations of 25 to 45 tokens, 40 to 1 for "
        "integrated gradients with 20 steps, before the targets of the training are counted."
    ),
    "",
    (
        "Why they differ. Their reference is the last point of the same curve, which is then zero "
        "there whatever its error; ours is an independent truth. Their error runs over all "
        "positions, padding included; ours over real words."
    ),
)


def studies(folder: Path, target: str, names: Sequence[str], full: bool) -> dict[str, Any]:
    """Studies of a target, those in the folder not made again.

    Args:
        folder: Where they lie.
        target: Such as `sst2/bert2`.
        names: Keys of `paper_text.STUDIES`, in an order in which each finds what it needs.
        full: 4,000 labelled texts and 100 with truth, in place of 200 and 24.
    """
    from bench.paper_text import STUDIES
    from bench.provenance import provenance
    from bench.text_bench import load_bench

    made, found = None, {}
    place = folder / target.replace("/", "-")
    for name in names:
        path = place / f"{name}.json"
        if not path.is_file():
            sizes = (4000, 100) if full else (200, 24)
            made = made or load_bench(target, folder, *sizes, least=8 if full else 1)
            said = {"target": target, "study": name, **STUDIES[name](made), "made": provenance()}
            place.mkdir(parents=True, exist_ok=True)
            atomic_write(path, json.dumps(said, indent=1).encode())
        found[name] = json.loads(path.read_text(encoding="utf-8"))
    return found
