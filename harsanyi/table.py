"""What a recipe grows parts from: raw float64 rows, targets, weights and the columns."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

Absence = Literal["baseline", "mask", "marginal"]
ProblemType = Literal["classification", "regression"]


@dataclass(frozen=True)
class Column:
    """One player of a table: a number, or a category whose code is its position in `categories`.

    Attributes:
        name: The player's name.
        categories: Plain Python labels in the order of their codes; empty for a number.

    Example:
        >>> from harsanyi import Column
        >>> Column("city", ("north", "south")).is_category, Column("age").is_category
        (True, False)
    """

    name: str
    categories: tuple[Any, ...] = ()

    @property
    def is_category(self) -> bool:
        """Whether the column holds codes."""
        return len(self.categories) > 0


@dataclass(frozen=True)
class Table:
    """Training rows in the form every part takes them.

    Attributes:
        x: Raw rows `(b, n)`, float64: numbers as they are, category codes, NaN for missing.
        y: Classes `(b,)` int64, or targets `(b, k)` float64 for regression and for distillation of
            logits.
        weight: Sample weights `(b,)`, float64, of mean 1 (class weights are in it).
        columns: The `n` players.
        n_outputs: Outputs of a part: 1 for regression and for two classes (the log-odds of class
            1), else `k`.
        problem_type: "classification" or "regression".
        absence: The semantics the net will have.
        baseline: Raw row `(n,)`, float64, that absence substitutes where a part substitutes
            anything.

    Example:
        >>> import torch
        >>> from harsanyi import Column, Table
        >>> table = Table(
        ...     x=torch.zeros(4, 1, dtype=torch.float64),
        ...     y=torch.tensor([0, 1, 0, 1]),
        ...     weight=torch.ones(4, dtype=torch.float64),
        ...     columns=(Column("age"),),
        ...     n_outputs=1,
        ...     problem_type="classification",
        ...     absence="mask",
        ...     baseline=torch.zeros(1, dtype=torch.float64),
        ... )
        >>> table.n_players, len(table)
        (1, 4)
    """

    x: Tensor
    y: Tensor
    weight: Tensor
    columns: tuple[Column, ...]
    n_outputs: int
    problem_type: ProblemType
    absence: Absence
    baseline: Tensor = field(repr=False)

    @property
    def n_players(self) -> int:
        """Players `n`."""
        return len(self.columns)

    @property
    def cardinalities(self) -> list[int]:
        """Categories per player, 0 for a number."""
        return [len(column.categories) for column in self.columns]

    def __len__(self) -> int:
        return len(self.x)

    def present(self, x: Tensor | None = None) -> Tensor:
        """Who is present in full rows under this table's absence, bool `(b, n)`."""
        rows = self.x if x is None else x
        return presence(rows, None, self.baseline if self.absence == "baseline" else None)

    def rows(self, index: Tensor) -> "Table":
        """The same table with the rows `index` only."""
        return replace(self, x=self.x[index], y=self.y[index], weight=self.weight[index])


def presence(x: Tensor, present: Tensor | None, baseline: Tensor | None) -> Tensor:
    """Who is present: asked for, and not equal to the baseline where there is one.

    The comparison is made in the dtype the rows came in, NaN being equal to NaN.

    Args:
        x: Raw rows `(b, n)`.
        present: Bool `(b, n)`; None means everybody.
        baseline: Raw row `(n,)` in `baseline` semantics, else None.

    Returns:
        Bool `(b, n)`.
    """
    asked = torch.ones_like(x, dtype=torch.bool) if present is None else present.expand(x.shape)
    if baseline is None:
        return asked
    reference = baseline.to(x.dtype)
    return asked & (x != reference) & ~(x.isnan() & reference.isnan())
