"""Explanation: what every explainer returns, and the Explainer protocol.

An answer travels with what it stands for (estimand, game, method), what it cost and how sure it is.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from baselines.arguments import is_a, positions
from baselines.finiteness import all_finite
from baselines.torch_calls import as_list

if TYPE_CHECKING:
    from baselines.plots import Plots

ESTIMANDS = (
    "shapley",
    "banzhaf",
    "owen",
    "semivalue",
    "selection",
    "gradient",
    "surrogate",
    "occlusion",
    "attention",
)
FORMAT = "harsanyi-explanation/1"

Names = Sequence[str]


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """How much each player contributed to each output of each explicand.

    Args:
        values: Attributions `(b, n, k)` in units of the explained output.
        estimand: What a value stands for, one of `ESTIMANDS`; an imitator takes its teacher's.
        game: The value function in words: imputer or absence, output scale, model.
        method: The estimator or model that produced the values.
        exact: True only for enumeration and for a Harsanyi model on its own game.
        base_values: `(b, k)`, value of the empty coalition, or None where there is none.
        std_errors: `(b, n, k)` standard errors, or None where none were estimated.
        n_evals: Coalitions evaluated per explicand, both ends included.
        players: `n` names; for ragged input `b` tuples of names. None names them by position.
        outputs: `k` names, or None.
        player_mask: Bool `(b, n)`, false for padding; None when every player is real.
        data: The explicands `(b, ...)` that pictures show beside the values, or None.
        diagnostics: Named tensors, such as `additivity_gap` `(b, k)`.
        categories: Per player the labels that its codes in `data` stand for, empty for a number;
            None where all are numbers.
        continuation: On a live sampled explanation, what `more` calls; never saved.

    Raises:
        TypeError: If `values` is not a floating-point tensor.
        ValueError: If a shape disagrees with `values`, the estimand is unknown, or a value of a
            real player is not finite.

    Example:
        >>> import torch
        >>> from baselines import Explanation
        >>> e = Explanation(torch.tensor([[[1.0], [2.0]]]), players=("age", "income"))
        >>> e.values.shape  # one explicand, two players, one output
        torch.Size([1, 2, 1])
    """

    values: Tensor
    estimand: str = "shapley"
    game: str = ""
    method: str = ""
    exact: bool = False
    base_values: Tensor | None = None
    std_errors: Tensor | None = None
    n_evals: int = 0
    players: Names | Sequence[Names] | None = None
    outputs: Names | None = None
    player_mask: Tensor | None = None
    data: Tensor | None = None
    diagnostics: Mapping[str, Tensor] = dataclasses.field(default_factory=dict[str, Tensor])
    categories: Sequence[Names] | None = None
    continuation: "Callable[[int], Explanation] | None" = dataclasses.field(
        default=None, repr=False
    )

    def __post_init__(self) -> None:
        if not is_a(self.values, Tensor) or not self.values.is_floating_point():
            received = getattr(self.values, "dtype", type(self.values).__name__)
            raise TypeError(f"values are {received}; pass a floating-point tensor (b, n, k).")
        if self.values.ndim != 3:
            raise ValueError(
                f"values have shape {tuple(self.values.shape)}; they need (b, n, k): explicands, "
                "players, outputs."
            )
        if self.estimand not in ESTIMANDS:
            raise ValueError(f"estimand={self.estimand!r} is unknown; use one of {ESTIMANDS}.")
        b, n, k = self.values.shape
        for name, wanted in (
            ("base_values", (b, k)),
            ("std_errors", (b, n, k)),
            ("player_mask", (b, n)),
        ):
            given = getattr(self, name)
            if given is not None and not isinstance(given, Tensor):
                raise TypeError(f"{name} is a {type(given).__name__}; pass a tensor {wanted}.")
            if given is not None and tuple(given.shape) != wanted:
                raise ValueError(f"{name} has shape {tuple(given.shape)}; it needs {wanted}.")
        for name, wanted in (
            ("players", b if self.is_ragged else n),
            ("outputs", k),
            ("categories", n),
        ):
            given = getattr(self, name)
            if given is not None and len(given) != wanted:
                raise ValueError(f"{name} names {len(given)} entries; there are {wanted}.")
        if self.player_mask is not None:
            # rounding aside padding scores 0 already; here it does so exactly
            real = self.player_mask.to(self.values.device)[..., None]
            object.__setattr__(self, "values", torch.where(real, self.values, 0.0))
        if not all_finite(self.values):
            bad = as_list((~torch.isfinite(self.values)).flatten(1).any(-1).nonzero().flatten())
            raise ValueError(
                f"values of explicands {bad[:5]} are not finite; check the model's output on "
                "these rows and on their masked copies."
            )

    @property
    def is_ragged(self) -> bool:
        """Whether each explicand names its own players."""
        return (
            self.players is not None
            and len(self.players) > 0
            and not isinstance(self.players[0], str)
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Explicands `b`, players `n`, outputs `k`."""
        b, n, k = self.values.shape
        return b, n, k

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        kind = "exact" if self.exact else "estimated"
        return (
            f"Explanation({self.estimand}, {kind}, b={self.shape[0]}, n={self.shape[1]}, "
            f"k={self.shape[2]}, method={self.method!r}, n_evals={self.n_evals}, "
            f"game={self.game!r})"
        )

    def player_names(self, row: int = 0) -> tuple[str, ...]:
        """Names of the players of one explicand.

        Args:
            row: Position of the explicand; matters for ragged input only.

        Returns:
            As many names as the explicand has players; `player 0`, ... where none were given.
        """
        if self.players is None:
            return tuple(f"player {i}" for i in range(self.shape[1]))
        names = self.players[row] if self.is_ragged else self.players
        return tuple(str(name) for name in names)

    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, `output 0`, ... where none were given."""
        if self.outputs is None:
            return tuple(f"output {i}" for i in range(self.shape[2]))
        return tuple(str(name) for name in self.outputs)

    def select(self, rows: slice | Sequence[int] | Tensor) -> "Explanation":
        """The explanation of some of the explicands.

        Args:
            rows: A slice, positions, or a bool mask over the `b` explicands.

        Returns:
            An Explanation of these rows in this order; it cannot be continued.

        Raises:
            TypeError: If the rows are neither a slice nor positions nor a mask.
            ValueError: If a position is out of range.
        """
        index = positions(rows, len(self))

        def pick(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[index.to(tensor.device)]

        per_row = {
            name: tensor[index.to(tensor.device)]
            for name, tensor in self.diagnostics.items()
            if tensor.ndim and len(tensor) == len(self)
        }
        players = self.players
        if players is not None and self.is_ragged:
            players = [players[i] for i in as_list(index)]
        return dataclasses.replace(
            self,
            values=self.values[index.to(self.values.device)],
            base_values=pick(self.base_values),
            std_errors=pick(self.std_errors),
            player_mask=pick(self.player_mask),
            data=pick(self.data),
            players=players,
            diagnostics={**self.diagnostics, **per_row},
            continuation=None,
        )

    def to(self, *args: Any, **kwargs: Any) -> "Explanation":  # noqa: ANN401 - torch's signature
        """The explanation on another device or in another float dtype, as `Tensor.to`."""

        def move(tensor: Tensor | None) -> Tensor | None:
            if tensor is None:
                return None
            return tensor.to(*args, **kwargs) if tensor.is_floating_point() else tensor

        return dataclasses.replace(
            self,
            values=self.values.to(*args, **kwargs),
            base_values=move(self.base_values),
            std_errors=move(self.std_errors),
            continuation=None,
        )

    def more(self, budget: int) -> "Explanation":
        """Continue sampling where this explanation stopped.

        Args:
            budget: Coalitions per explicand to add to the budget so far.

        Returns:
            The explanation that one run with the sum of the budgets would have given.

        Raises:
            ValueError: If this explanation is exact, loaded from a file, or not a sampled one.
        """
        if self.continuation is None:
            raise ValueError(
                f"an explanation by {self.method!r} that is exact, loaded or moved cannot be "
                f"continued; call its estimator again with budget={budget}."
            )
        return self.continuation(budget)

    @property
    def plot(self) -> "Plots":
        """Pictures of this explanation; loads matplotlib (extra `plots`) when touched."""
        from baselines.plots import Plots

        return Plots(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write one safetensors file that `load` reads back bit for bit.

        Args:
            path: File to write; an existing one is replaced in one step.
        """
        from safetensors.torch import save

        from baselines.shards import atomic_write

        tensors = {
            field: getattr(self, field)
            for field in ("values", "base_values", "std_errors", "player_mask", "data")
            if isinstance(getattr(self, field), Tensor)
        }
        tensors |= {f"diagnostics.{name}": value for name, value in self.diagnostics.items()}
        words = {
            "estimand": self.estimand,
            "game": self.game,
            "method": self.method,
            "exact": self.exact,
            "n_evals": self.n_evals,
            "players": None if self.players is None else _plain(self.players),
            "outputs": None if self.outputs is None else _plain(self.outputs),
            "categories": None if self.categories is None else _plain(self.categories),
        }
        # a clone, since safetensors refuses tensors that share memory (masks and views may)
        stored = {
            name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()
        }
        # one entry, since safetensors writes several in no fixed order: equal content, equal bytes
        metadata = {"harsanyi": json.dumps({"format": FORMAT, **words})}
        atomic_write(Path(path), save(stored, metadata=metadata))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Explanation":
        """Read an explanation that `save` wrote.

        Args:
            path: A safetensors file.

        Returns:
            The explanation, on the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is truncated, corrupt, or holds something else.
        """
        from baselines.files import read_tensors

        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no explanation at {path}; Explanation.save writes one.")
        metadata, tensors = read_tensors(path)
        try:
            words = json.loads(metadata.get("harsanyi", "{}"))
            written_as = words.pop("format", None)
            if written_as != FORMAT:
                raise ValueError(
                    f"{path} has format {written_as!r}; this version reads {FORMAT!r}. Save it "
                    "again with the version that wrote it."
                )
            diagnostics = {
                name.removeprefix("diagnostics."): tensors.pop(name)
                for name in list(tensors)
                if name.startswith("diagnostics.")
            }
            fields: dict[str, Any] = {**tensors}
            return cls(**fields, **words, diagnostics=diagnostics)
        except (AttributeError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is no complete explanation ({error}).") from error

    def to_shap(self, output: int | str | None = None) -> Any:  # noqa: ANN401 - a guest's class
        """The same values as a `shap.Explanation` of numpy arrays.

        Args:
            output: Position or name of one output, whose values are then `(b, n)`. None means
                the only output, the last of two (the positive class), or of more the one that
                moves most; `"all"` keeps all of them, values `(b, n, k)`.

        Returns:
            A `shap.Explanation` with values, base values, data, feature and output names.

        Raises:
            ImportError: If shap is not installed.
            ValueError: If there is no such output.
        """
        try:
            import shap  # pyright: ignore[reportMissingTypeStubs]
        except ImportError as error:
            raise ImportError(
                "to_shap needs shap; install it with pip install 'harsanyi[shap]'."
            ) from error
        names = self.output_names()
        every = output == "all" and "all" not in names
        if output is None:
            moved = self.values.detach().abs().mean((0, 1))
            output = len(names) - 1 if len(names) <= 2 else int(moved.argmax())
        position = slice(None) if every else self.output_position(output)
        base = self.base_values
        data = self.data
        return shap.Explanation(
            values=self.values[..., position].detach().cpu().numpy(),
            base_values=None if base is None else base[:, position].detach().cpu().numpy(),
            data=None if data is None else data.detach().cpu().numpy(),
            error_std=None
            if self.std_errors is None
            else self.std_errors[..., position].detach().cpu().numpy(),
            feature_names=None if self.is_ragged else list(self.player_names()),
            output_names=list(names) if every else names[self.output_position(output)],
        )

    @classmethod
    def from_shap(cls, guest: Any, *, method: str = "shap", game: str = "") -> "Explanation":  # noqa: ANN401
        """A `shap.Explanation` as an Explanation; see `adapters.from_shap`."""
        from baselines.adapters import from_shap

        return from_shap(guest, method=method, game=game)

    def to_shapiq(self, row: int = 0, output: int | str = 0) -> Any:  # noqa: ANN401 - a guest's
        """One explicand and output as `shapiq.InteractionValues`; see `adapters.to_shapiq`."""
        from baselines.adapters import to_shapiq

        return to_shapiq(self, row, output)

    def output_position(self, output: int | str) -> int:
        """Position of an output given by name or position.

        Args:
            output: Name or position; a negative position counts from the end.

        Returns:
            A position from 0 to `k - 1`.

        Raises:
            ValueError: If there is no such output.
        """
        names = self.output_names()
        if isinstance(output, str):
            if output not in names:
                raise ValueError(f"output={output!r} is not one of {names}.")
            return names.index(output)
        if not -len(names) <= output < len(names):
            raise ValueError(f"output={output} is out of range; there are {len(names)} outputs.")
        return output % len(names)


def _plain(names: Names | Sequence[Names]) -> list[Any]:
    return [name if isinstance(name, str) else [str(part) for part in name] for name in names]


@runtime_checkable
class Explainer(Protocol):
    """Anything that explains: a model of its own predictions, or an estimator bound to a model.

    Example:
        >>> import torch
        >>> from baselines import Explainer, Saliency
        >>> isinstance(Saliency(torch.nn.Linear(2, 1)), Explainer)
        True
    """

    def explain(self, x: Any) -> Explanation:  # noqa: ANN401 - rows, texts or images
        """Explain each row of `x`.

        Args:
            x: Explicands `(b, *features)`, or what the explainer takes in their place.

        Returns:
            An Explanation with values `(b, n, k)`.
        """
        ...
