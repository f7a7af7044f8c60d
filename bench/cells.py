"""A grid of measured cells as a resumable job: one shard for each subject, method and seed."""

import dataclasses
import importlib.metadata
from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from baselines import shards
from bench.forecast import cost_noted, say_forecast

if TYPE_CHECKING:
    import pandas as pd

Judge = Callable[[str, str, int], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Grid:
    """What a suite measures on what.

    Args:
        kind: Name of the suite, which a folder remembers.
        rows: What a row of the grid is called, such as `"table"`.
        columns: What a column is called, such as `"model"`.
        measures: Names of the numbers of a cell.
        judge: `judge(row, column, seed)` measures a cell; measures it leaves out are unknown.
    """

    kind: str
    rows: str
    columns: str
    measures: Sequence[str]
    judge: Judge

    def plan(
        self,
        folder: str | PathLike[str],
        rows: tuple[Sequence[str], Sequence[str]],
        columns: tuple[Sequence[str], Sequence[str]],
        seeds: int,
    ) -> shards.Plan:
        """Write down which cells are to be judged, or see that a folder holds the same.

        Args:
            folder: Where the cells lie.
            rows: Names asked for, and all names there are.
            columns: Likewise.
            seeds: Repeats of every pair.

        Returns:
            The plan; a whole round of seeds comes before the next.

        Raises:
            ValueError: If a name is unknown, or the folder holds other cells.
        """
        for kind, (given, known) in ((self.rows, rows), (self.columns, columns)):
            unknown = [name for name in given if name not in known]
            if unknown:
                raise ValueError(f"{kind}s {unknown} are not in the suite; it has {list(known)}.")
        config = {
            "kind": self.kind,
            f"{self.rows}s": list(rows[0]),
            f"{self.columns}s": list(columns[0]),
            "seeds": seeds,
            "measures": list(self.measures),
            "harsanyi": importlib.metadata.version("harsanyi"),
        }
        names = ["/".join(map(str, cell)) for cell in self.cells(config)]
        return shards.plan_job(folder, config, names, shard_size=1)

    def cells(self, config: Any) -> list[tuple[str, str, int]]:  # noqa: ANN401 - JSON
        """Row, column and seed of every item of a plan's config."""
        return [
            (row, column, seed)
            for seed in range(config["seeds"])
            for row in config[f"{self.rows}s"]
            for column in config[f"{self.columns}s"]
        ]

    def run(self, plan: shards.Plan, *, progress: bool = True) -> list[int]:
        """Judge the cells that are not judged yet.

        Args:
            plan: From `plan`.
            progress: Say what it will cost, and show a bar of cells.

        Returns:
            Numbers of the cells that this call judged.
        """
        cells = self.cells(plan.config)

        def judged(item: int) -> dict[str, float]:
            with cost_noted(plan.folder, tuple(map(str, cells[item]))):
                return self.judge(*cells[item])

        def work(items: Sequence[int]) -> dict[str, Tensor]:
            found = [judged(item) for item in items]
            values = torch.tensor([[row.get(m, np.nan) for m in self.measures] for row in found])
            known = values.isfinite()  # shards refuse NaN, so what was not measured has a flag
            return {"values": values.double().where(known, 0.0), "known": known}

        if progress:
            say_forecast(plan, [tuple(map(str, cell)) for cell in cells])
        return shards.run(plan, work, progress=progress)

    def frame(self, plan: shards.Plan) -> "pd.DataFrame":
        """The cells judged so far.

        Args:
            plan: From `plan` or `shards.open_job`.

        Returns:
            One row per cell: row, column, seed and the measures, NaN where not measured.
        """
        import pandas as pd
        from safetensors.torch import load_file

        pending, found = set(shards.pending(plan)), []
        measures = plan.config["measures"]
        for item, (row, column, seed) in enumerate(self.cells(plan.config)):
            if item in pending:
                continue
            stored = load_file(plan.path(item))
            values = stored["values"][0].where(stored["known"][0], torch.nan).tolist()
            names = {self.rows: row, self.columns: column, "seed": seed}
            found.append(names | dict(zip(measures, values, strict=True)))
        return pd.DataFrame(found, columns=[self.rows, self.columns, "seed", *measures])
