"""The catalogue: problems by name, ours and those that installed packages add.

`synthetic/...` and `exact/...` games have known truth; `<table>/<model>` is a small black box on a table, absent
players at the baseline; `<table>/<model>/marginal` averages them over 64 training rows instead;
`text/templates` and `sst2/bert2` are games of texts (see bench/problems/text.py).
"""

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from bench.problems import synthetic
from bench.problems.exact_nets import exact_net
from bench.problems.image_boxes import IMAGE_PROBLEMS, image_problem, is_image_problem
from bench.problems.models import MODELS, coded, fit_box, reference
from bench.problems.problem import Problem
from bench.problems.sources import MORE_TABLES, is_named_table, table_by_name
from bench.problems.tabular import TABLES, Table, split
from bench.problems.text import is_text_problem, text_problem, text_problem_names

ENTRY_POINTS = "harsanyi.problems"
IMPUTERS = ("baseline", "marginal")
BACKGROUND = 64

SYNTHETIC: dict[str, Callable[..., Problem]] = {
    "synthetic/unanimity": synthetic.unanimity_sum,
    "synthetic/unanimity-64": functools.partial(synthetic.unanimity_sum, 64, n_terms=200),
    "synthetic/airport": synthetic.airport,
    "synthetic/glove": synthetic.glove,
    **{f"exact/net-{n}": functools.partial(exact_net, n) for n in (12, 64, 256, 512)},
}
"""Problems that need no data, by name."""


def problem_names() -> list[str]:
    """Every name that `named_problem` takes."""
    return [*SYNTHETIC, *text_problem_names(), *_tabular_names(), *_guests()]


def named_problem(name: str, *, b: int = 32) -> Problem:
    """A problem by name.

    Args:
        name: One of `problem_names()`; `<table>/<model>` stands for its baseline imputer,
            `<table>` for boosted trees; a table may also be `FILE.csv:TARGET` or
            `hub:OWNER/NAME:TARGET`. An
            ending such as `@3` is the seed of split, model and choice of rows, 0 without it.
        b: Explicands, taken from the test rows.

    Returns:
        The same problem, with the same content hash, for the same arguments.

    Raises:
        ValueError: If there is no such problem.
        FileNotFoundError: If the data folder lacks the table.
    """
    guests = _guests()
    if name in guests:
        return guests[name].load()()
    plain, _, ending = name.partition("@")
    seed = int(ending) if ending.isdigit() else 0
    if plain in SYNTHETIC and (not ending or ending.isdigit()):
        made = SYNTHETIC[plain](b=b, seed=seed)
        return dataclasses.replace(made, name=name, content_hash="")
    if is_text_problem(plain) and (not ending or ending.isdigit()):
        made = text_problem(plain, b=b, seed=seed)
        return dataclasses.replace(made, name=name, content_hash="") if ending else made
    if is_image_problem(plain) and (not ending or ending.isdigit()):
        return image_problem(plain, b=b, seed=seed)
    table, kind, absence = _words(plain if not ending or ending.isdigit() else name)
    if is_named_table(table):
        return _tabular(table, kind, absence, b, seed)
    raise ValueError(
        f"problem {name!r} is unknown; choose from {', '.join(SYNTHETIC)}, "
        f"{', '.join([*text_problem_names(), *IMAGE_PROBLEMS])}, or TABLE/MODEL or "
        f"TABLE/MODEL/marginal with a table of {', '.join((*TABLES, *MORE_TABLES))}, FILE.csv:TARGET "
        f"or hub:OWNER/NAME:TARGET and a model of {MODELS}."
    )


def _words(name: str) -> tuple[str, str, str]:
    """Table, model and imputer of a name; the last two may be left out, from the end."""
    rest, _, absence = name.rpartition("/")
    if not rest or absence not in IMPUTERS:
        rest, absence = name, "baseline"
    table, _, kind = rest.rpartition("/")
    return (table, kind, absence) if table and kind in MODELS else (rest, "boosted", absence)


def _tabular(table_name: str, kind: str, absence: str, b: int, seed: int) -> Problem:
    table = table_by_name(table_name)
    parts = split(table, seed)
    box = fit_box(kind, table, parts.train, seed=seed)
    chosen = np.sort(np.random.default_rng(seed).permutation(parts.test)[:b])
    name = f"{table_name}/{kind}/{absence}" + (f"@{seed}" if seed else "")
    return box_problem(name, box, table, parts.train, chosen, absence=absence, seed=seed)


def box_problem(
    name: str,
    box: Any,  # noqa: ANN401 - a fitted pipeline
    table: Table,
    train: np.ndarray,
    rows: np.ndarray,
    *,
    absence: str = "baseline",
    seed: int = 0,
) -> Problem:
    """The problem of explaining a fitted box on rows of a table.

    Args:
        name: Of the problem.
        box: From `fit_box`.
        table: The data set.
        train: Positions that baseline and background are taken from.
        rows: Positions of the explicands.
        absence: `"baseline"`, or `"marginal"` over `BACKGROUND` training rows.
        seed: Which background rows, and what the model's name says.

    Returns:
        A Problem on coded rows, of log-odds or values.
    """
    from baselines.foreign_models import from_callable
    from baselines.game import MaskedGame
    from baselines.imputers import BaselineImputer, MarginalImputer

    classify = table.task == "classification"
    model: Any = from_callable(box, output="logit" if classify else "proba")
    model.description = f"{name.rpartition('/')[0]} (seed {seed})"
    rng = np.random.default_rng((seed, 1))
    x = torch.from_numpy(coded(table))
    background = x[np.sort(rng.permutation(train)[:BACKGROUND])]
    imputer = (
        BaselineImputer(reference(table, train))
        if absence == "baseline"
        else MarginalImputer(background)
    )
    players = tuple(map(str, table.X.columns))

    outputs = _output_names(box, model(x[:1])) if classify else None

    def game(rows: torch.Tensor) -> MaskedGame:
        return MaskedGame(model, rows, imputer, players=players, outputs=outputs)

    return Problem(
        name=name,
        x=x[rows],
        y=table.y[rows],
        game_factory=game,
        imputer=imputer,
        players=players,
        scale="logit" if classify else "value",
        task=table.task,
        model=model,
        background=background,
    )


def _output_names(box: Any, answer: torch.Tensor) -> tuple[str, ...] | None:  # noqa: ANN401
    """The class that each column of an answer `(b,)` or `(b, k)` speaks for."""
    classes = tuple(map(str, getattr(box, "classes_", ())))
    k = 1 if answer.ndim == 1 else answer.shape[1]
    if k == len(classes):
        return classes
    return classes[-1:] if (k, len(classes)) == (1, 2) else None


def _tabular_names() -> Iterator[str]:
    return (
        f"{table}/{kind}/{how}"
        for table in (*TABLES, *MORE_TABLES)
        for kind in MODELS
        for how in IMPUTERS
    )


def _guests() -> dict[str, importlib.metadata.EntryPoint]:
    found = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return {entry.name: entry for entry in found}
