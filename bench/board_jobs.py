"""Evaluations as a resumable job: each cell is judged once, kept, and put on one leaderboard.

A cell is a tuple of words, such as problem, contender and seed. What was judged lies in a shard of
its own, so that a run killed at any moment ends in the same leaderboard as one that was not, but
for times, memory, date and hardware.
"""

import dataclasses
import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

from baselines import shards
from baselines.explanation import Explanation
from bench.evaluation import Evaluation
from bench.forecast import cost_noted, say_forecast

Cell = tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class ProblemCard:
    """What a leaderboard says of a problem, without its rows, model and game."""

    name: str
    content_hash: str
    task: str
    modality: str
    scale: str
    value_function: str
    background_rows: float


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """What judging one cell gave.

    Args:
        evaluation: Of the cell's contender.
        answers: Arrays by name that later steps pair between cells, such as the loss of each test
            row; finite.
        rows: The explained rows as a reader knows them, or None.
    """

    evaluation: Evaluation
    answers: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    rows: Any = None


@dataclasses.dataclass(frozen=True)
class BoardJob:
    """Which cells are judged, and how.

    Args:
        kind: Name of the run, which its folder remembers.
        cells: Every cell, in the order in which they are judged.
        judge: Judges one cell; a function of the cell alone.
        config: What else the results depend on; plain JSON.
    """

    kind: str
    cells: Sequence[Cell]
    judge: Callable[[Cell], Judged]
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def plan(self, folder: str | PathLike[str]) -> shards.Plan:
        """Write down which cells are to be judged, or see that a folder holds the same.

        Args:
            folder: Where the cells lie.

        Raises:
            ValueError: If the folder holds another run.
        """
        config = {
            "kind": self.kind,
            "harsanyi": importlib.metadata.version("harsanyi"),
            **self.config,
        }
        names = ["/".join(cell) for cell in self.cells]
        return shards.plan_job(folder, config, names, shard_size=1)

    def run(self, plan: shards.Plan, *, progress: bool = True) -> list[int]:
        """Judge the cells that are not judged yet.

        Args:
            plan: From `plan`.
            progress: Say what it will cost, and show a bar of cells.

        Returns:
            Numbers of the cells that this call judged.
        """

        def work(items: Sequence[int]) -> dict[str, Tensor]:
            (item,) = items
            with cost_noted(plan.folder, self.cells[item]):
                content = pack(self.judge(self.cells[item]))
            return {"judged": torch.frombuffer(bytearray(content), dtype=torch.uint8)[None]}

        if progress:
            say_forecast(plan, self.cells)
        return shards.run(plan, work, progress=progress)

    def judged(self, plan: shards.Plan) -> Iterator[tuple[Cell, Judged]]:
        """The cells judged so far.

        Args:
            plan: From `plan`.

        Yields:
            Each cell and what judging it gave, in order.
        """
        from safetensors.torch import load_file

        waiting = set(shards.pending(plan))
        for item, cell in enumerate(self.cells):
            if item not in waiting:
                yield cell, unpack(load_file(plan.path(item))["judged"][0].numpy().tobytes())


def pack(judged: Judged) -> bytes:
    """What judging gave as the bytes of one safetensors file, equal for equal content.

    Args:
        judged: From a judge; its answers are finite.
    """
    one = judged.evaluation
    arrays = {f"scores.{name}": values for name, values in one.scores.items()}
    arrays |= {f"ceilings.{name}": values for name, values in one.ceilings.items()}
    arrays |= {f"answers.{name}": values for name, values in judged.answers.items()}
    tensors = {
        name: torch.from_numpy(np.array(array, dtype=np.float64)) for name, array in arrays.items()
    }
    tensors["explanation"] = _as_bytes(one.explanation)
    if one.truth is not None:
        tensors["truth"] = _as_bytes(one.truth)
    said = {
        "method": one.method,
        "explains": one.explains,
        "facts": {name: _plain(value) for name, value in one.facts.items()},
        "problem": {
            field.name: _plain(getattr(one.problem, field.name))
            for field in dataclasses.fields(ProblemCard)
        },
        "rows": None if judged.rows is None else json.loads(judged.rows.to_json(orient="split")),
    }
    return to_safetensors(tensors, metadata={"harsanyi": json.dumps(said, sort_keys=True)})


def unpack(content: bytes) -> Judged:
    """The inverse of `pack`.

    Args:
        content: From `pack`.
    """
    size = int.from_bytes(content[:8], "little")
    said = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["harsanyi"])
    tensors = from_safetensors(content)
    parts: dict[str, dict[str, np.ndarray]] = {"scores": {}, "ceilings": {}, "answers": {}}
    for name, tensor in tensors.items():
        part, _, key = name.partition(".")
        if part in parts:
            parts[part][key] = tensor.numpy()
    card: Any = ProblemCard(**_numbers(said["problem"]))
    evaluation = Evaluation(
        method=said["method"],
        problem=card,
        explains=said["explains"],
        scores=parts["scores"],
        ceilings=parts["ceilings"],
        facts=_numbers(said["facts"]),
        explanation=_from_bytes(tensors["explanation"]),
        truth=_from_bytes(tensors["truth"]) if "truth" in tensors else None,
    )
    rows = None
    if said["rows"] is not None:
        import pandas as pd

        rows = pd.DataFrame(said["rows"]["data"], columns=said["rows"]["columns"])
    return Judged(evaluation, parts["answers"], rows)


def _plain(value: Any) -> Any:  # noqa: ANN401 - numbers and words
    """Numbers and words as JSON has them; what is not finite becomes None."""
    if isinstance(value, (bool, str)) or value is None:
        return value
    number = float(value)
    return number if np.isfinite(number) else None


def _numbers(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float("nan") if value is None else value for name, value in said.items()}


def _as_bytes(explanation: Explanation) -> Tensor:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "explanation.safetensors"
        explanation.save(path)
        return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)


def _from_bytes(tensor: Tensor) -> Explanation:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "explanation.safetensors"
        path.write_bytes(tensor.numpy().tobytes())
        return Explanation.load(path)
