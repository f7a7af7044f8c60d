"""Padding as players: how much of an explainer's instability the papers' set-up makes itself.

    python -m bench.text_padding --problem sst2/bert2 --out out/padding

Published label sets (Thermostat, which Yang et al., 2023, build on) pad each text to 512 tokens and
let every position play, so that most players change nothing and still cost evaluations and, in
KernelSHAP, an unknown each. The same texts, budgets and seeds are explained with real tokens only.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.files import atomic_write
from baselines.regression import kernel_shap
from baselines.sampling import permutation_shapley
from bench.guest_streams import guest_seeded
from bench.provenance import provenance

PADDED = 510
"""Positions between the special tokens of an input of 512."""


class PaddedPlayers:
    """A game of one text with more players than it has, none of which changes a value.

    Args:
        game: The game of one text.
        size: Players in all.
    """

    n_explicands = 1

    def __init__(self, game: Any, size: int = PADDED) -> None:  # noqa: ANN401 - a TextGame
        if game.n_explicands != 1 or game.n_players > size:
            raise ValueError(
                f"game has {game.n_explicands} texts of {game.n_players} players; pass one text "
                f"of at most {size}."
            )
        self.game, self.n_players, self.n_outputs = game, size, game.n_outputs
        self.outputs = game.outputs
        self.description = f"{game.description}, padded to {size} players"

    @property
    def n_evals(self) -> int:
        """Rows of the inner game."""
        return self.game.n_evals

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values `(1, m, k)` of the first players of coalitions `(1, m, size)`."""
        return self.game(coalitions[..., : self.game.n_players])


@dataclasses.dataclass(frozen=True)
class Stability:
    """How much two seeds agree, means over texts and pairs of seeds.

    Args:
        spearman: Rank correlation over the real players.
        mse: Mean squared difference over the real players.
        top_5: Players that two seeds have in common among the five highest.
        evaluations: Coalitions asked for per text.
    """

    spearman: float
    mse: float
    top_5: float
    evaluations: float


def stability(values: Tensor, evaluations: float = 0.0) -> Stability:
    """How much runs of one text agree.

    Args:
        values: `(seeds, n)`, real players only.
        evaluations: What a run cost.

    Raises:
        ValueError: If there are fewer than two runs.
    """
    from scipy.stats import spearmanr

    if len(values) < 2:
        raise ValueError(f"{len(values)} run; two seeds or more can agree.")
    runs = values.double().numpy()
    top = min(5, runs.shape[1])
    rows = []
    for one, two in combinations(runs, 2):
        same = set(np.argsort(-one)[:top]) & set(np.argsort(-two)[:top])
        ranked: Any = spearmanr(one, two)
        rows.append((ranked.statistic, ((one - two) ** 2).mean(), len(same)))
    spearman, mse, shared = np.nanmean(np.array(rows), axis=0)
    return Stability(float(spearman), float(mse), float(shared), evaluations)


Sampler = Callable[[Any, int, int], tuple[Tensor, int]]
"""`sampler(game, output, seed)`: values `(n,)` of an output and coalitions asked for."""


def paired_kernel(budget: int) -> Sampler:
    """Our KernelSHAP, whose coalitions come with their complements."""

    def run(game: Any, output: int, seed: int) -> tuple[Tensor, int]:  # noqa: ANN401
        found = kernel_shap(game, budget, generator=torch.Generator().manual_seed(seed))
        return found.values[0, :, output], found.n_evals

    return run


def antithetic(pairs: int) -> Sampler:
    """Our permutation sampler."""

    def run(game: Any, output: int, seed: int) -> tuple[Tensor, int]:  # noqa: ANN401
        budget = 2 + 2 * pairs * (game.n_players - 1)
        drawn = torch.Generator().manual_seed(seed)
        found = permutation_shapley(game, budget, generator=drawn)
        return found.values[0, :, output], found.n_evals

    return run


def captum_kernel(budget: int) -> Sampler:
    """captum's KernelSHAP, single coalitions."""
    return _captum("KernelShap", budget)


def captum_orders(orders: int) -> Sampler:
    """captum's ShapleyValueSampling, single orders."""
    return _captum("ShapleyValueSampling", orders)


def _captum(name: str, samples: int) -> Sampler:
    def run(game: Any, output: int, seed: int) -> tuple[Tensor, int]:  # noqa: ANN401
        from captum import attr

        asked = 0

        def play(masks: Tensor) -> Tensor:
            nonlocal asked
            asked += len(masks)
            return game(masks[None] > 0.5)[0, :, output]

        with guest_seeded(seed):
            found = getattr(attr, name)(play).attribute(
                torch.ones(1, game.n_players),
                baselines=0,
                n_samples=samples,
                perturbations_per_eval=64,
            )
        return found[0], asked

    return run


STUDY: dict[str, Sampler] = {
    "KernelSHAP, 200 evaluations, single": captum_kernel(200),
    "KernelSHAP, 200 evaluations, paired": paired_kernel(200),
    "KernelSHAP, 2,000 evaluations, single": captum_kernel(2000),
    "KernelSHAP, 2,000 evaluations, paired": paired_kernel(2000),
    "25 orders, single": captum_orders(25),
    "12 antithetic pairs of orders": antithetic(12),
}
"""Name -> sampler; single ones are captum's, paired ones ours."""


def instability(
    problem: Any,  # noqa: ANN401 - a Problem of texts
    *,
    seeds: int = 3,
    padded: int = PADDED,
    samplers: dict[str, Sampler] | None = None,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """The table: every sampler with real players only, and with padding as players.

    Args:
        problem: A text problem whose players are tokens or words.
        seeds: Runs that are compared with each other.
        padded: Players with padding.
        samplers: Name -> sampler; `STUDY` when None.
        progress: Show a bar.

    Returns:
        Rows of sampler, players ("real" or "padded"), and the fields of `Stability`.
    """
    from tqdm.auto import tqdm

    found: dict[tuple[str, str], list[Stability]] = {}
    for text in tqdm(problem.x, desc="texts", disable=not progress):
        real = problem.model([text])
        everyone = torch.ones(1, 1, real.n_players, dtype=torch.bool)
        output = int(real(everyone)[0, 0].argmax())
        for name, sampler in (samplers or STUDY).items():
            for kind in ("real", "padded"):
                game = real if kind == "real" else PaddedPlayers(real, padded)
                runs = [sampler(game, output, seed) for seed in range(seeds)]
                values = torch.stack([run[0][: real.n_players] for run in runs])
                mark = stability(values, float(np.mean([run[1] for run in runs])))
                found.setdefault((name, kind), []).append(mark)
    return [
        {"sampler": name, "players": kind}
        | {
            field.name: float(np.nanmean([getattr(mark, field.name) for mark in marks]))
            for field in dataclasses.fields(Stability)
        }
        for (name, kind), marks in found.items()
    ]


def page(rows: list[dict[str, Any]], about: str) -> str:
    """The table in Markdown.

    Args:
        rows: From `instability`.
        about: What was measured, in words.
    """
    lines = ["# Padding as players", "", about, ""]
    lines.append("| sampler | players | evaluations | Spearman | MSE | top 5 in common |")
    lines.append("| --- | --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        lines.append(
            f"| {row['sampler']} | {row['players']} | {row['evaluations']:,.0f} | "
            f"{row['spearman']:.3f} | {row['mse']:.2g} | {row['top_5']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write `padding.json` and `padding.md`.

    Args:
        arguments: Of the command line; the process's own when None.
    """
    from bench.problems.catalogue import named_problem

    parser = argparse.ArgumentParser(prog="bench.text_padding", description=__doc__)
    parser.add_argument("--problem", default="templates/bert2", help="a text problem")
    parser.add_argument("--texts", type=int, default=8, help="texts to explain")
    parser.add_argument("--seeds", type=int, default=3, help="runs compared with each other")
    parser.add_argument(
        "--out", type=Path, default=Path("out/padding"), help="folder of the table"
    )
    given = parser.parse_args(arguments)
    rows = instability(named_problem(given.problem, b=given.texts), seeds=given.seeds)
    made = provenance()
    command = (
        f"python -m bench.text_padding --problem {given.problem} --texts {given.texts} "
        f"--seeds {given.seeds}"
    )
    about = (
        f"{given.texts} texts of {given.problem}, {given.seeds} seeds, the predicted class's "
        f"logit; agreement between seeds over the real players, with {PADDED} players when padded."
        f"\n\nMade by `{command}`, commit {made['commit']}, {made['hardware']}."
    )
    given.out.mkdir(parents=True, exist_ok=True)
    told = json.dumps({"rows": rows, "made": made}, indent=1)
    atomic_write(given.out / "padding.json", told.encode())
    atomic_write(given.out / "padding.md", page(rows, about).encode())
    print(page(rows, about))


if __name__ == "__main__":
    main()
