"""Imputers: they fill in the absent features of an explicand and never call a model.

Present entries are returned bit for bit, even beside NaN. Without a generator an imputer that draws
uses the same random numbers for every explicand and coalition, so that v(S) is a function of x and
S alone, whatever the order or the chunks of the calls; with one, all draws are distinct.
"""

import inspect
from collections.abc import Callable
from math import prod
from os import PathLike
from typing import Any, Protocol, Self, runtime_checkable

import torch
from einops import rearrange
from torch import Tensor, nn

from baselines.arguments import as_tensor, is_a
from baselines.blending import blend
from baselines.coalitions import key_from, stream
from baselines.torch_calls import from_array

FORMAT = "harsanyi-imputer/1"


@runtime_checkable
class Imputer(Protocol):
    """Fills in absent features.

    An imputer may also carry `n_draws` (its number of imputations `r`, 1 if absent), by which a
    game keeps inside its memory budget, and `weights` `(r,)`, which sum to 1.

    Example:
        >>> from baselines import BaselineImputer, Imputer
        >>> isinstance(BaselineImputer(0.0), Imputer)
        True
    """

    def __call__(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Impute.

        Args:
            x: Explicands `(b, *features)`.
            coalitions: Bool `(b, m, n)` over the `n` flattened features, true = present.
            generator: Source of the draws, for imputers that draw.

        Returns:
            `(b, m, r, *features)`.
        """
        ...


class StoredImputer(nn.Module):
    """An imputer that is saved and loaded like a model.

    Its constructor's arguments are its whole state: each is an attribute of the same name, a
    tensor or something JSON can hold.

    Example:
        >>> import torch
        >>> from baselines import StoredImputer
        >>> import tempfile
        >>> from baselines import BaselineImputer
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     BaselineImputer(torch.tensor([1.0, 2.0])).save_pretrained(folder)
        ...     again = StoredImputer.from_pretrained(folder)
        >>> type(again).__name__
        'BaselineImputer'
    """

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write `config.json` and `model.safetensors` into a folder.

        Args:
            folder: Made where it does not exist.

        Raises:
            TypeError: If the imputer holds something else than tensors, numbers and words.
        """
        from baselines.folders import write_folder

        tensors: dict[str, Tensor] = {}
        words: dict[str, Any] = {}
        for name in inspect.signature(type(self).__init__).parameters:
            if name == "self":
                continue
            value = getattr(self, name)
            (tensors if isinstance(value, Tensor) else words)[name] = value
        config = {"format": FORMAT, "imputer": type(self).__name__, "arguments": words}
        try:
            write_folder(folder, config, tensors)
        except TypeError as error:
            raise TypeError(
                f"{type(self).__name__} holds something that no file can ({error}); save what it "
                "wraps instead."
            ) from error

    @classmethod
    def from_pretrained(cls, folder: str | PathLike[str]) -> Self:
        """The imputer that `save_pretrained` wrote.

        Args:
            folder: Holds `config.json` and `model.safetensors`.

        Returns:
            An imputer of this class; `StoredImputer.from_pretrained` reads one of any class.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is truncated or corrupt, or holds another kind of imputer.
        """
        from baselines.folders import read_folder, reading

        with reading(folder, "imputer") as path:
            config, tensors = read_folder(path, FORMAT)
            name = config["imputer"]
            imputer = _imputer_class(name)(**tensors, **config["arguments"])
        if not isinstance(imputer, cls):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not an argument's type
                f"{folder} holds a {name}, not a {cls.__name__}; load it with "
                f"{name}.from_pretrained."
            )
        return imputer


def _imputer_class(name: str) -> type[StoredImputer]:
    """A stored imputer's class: one of this package's, or one already imported elsewhere."""
    import baselines

    pending = [StoredImputer]
    known: dict[str, type[StoredImputer]] = {}
    if is_a(name, str) and name.endswith("Imputer") and name in dir(baselines):
        getattr(baselines, name)
    while pending:
        kind = pending.pop()
        known[kind.__name__] = kind
        pending += kind.__subclasses__()
    if name not in known or name == "StoredImputer":
        raise ValueError(f"imputer {name!r} is unknown; import the package that defines it")
    return known[name]


class BaselineImputer(StoredImputer):
    """Absent features take the values of one reference input.

    Args:
        baseline: `(*features)`, or a number for all features. NaN stands for a missing value, for
            models that read one; a game refuses the others' answers.

    Raises:
        ValueError: If the baseline holds infinity; on a call, if `x` has other features than it.

    Example:
        >>> import torch
        >>> from baselines import BaselineImputer
        >>> x, present = torch.tensor([[1.0, 2.0]]), torch.tensor([[[True, False]]])
        >>> BaselineImputer(0.0)(x, present)  # (b, m, r, n)
        tensor([[[[1., 0.]]]])
    """

    description = "baseline imputer"
    n_draws = 1

    def __init__(self, baseline: Tensor | float) -> None:
        super().__init__()
        self.register_buffer("baseline", _bounded(as_tensor(baseline, "baseline"), "baseline"))
        self.baseline: Tensor

    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Imputed rows `(b, m, 1, *features)` of `x` `(b, *features)`."""
        present = feature_mask(x, coalitions)
        baseline = self.baseline
        if baseline.ndim and baseline.shape != x.shape[1:]:
            raise ValueError(
                f"baseline has shape {tuple(baseline.shape)}; x needs one of {tuple(x.shape[1:])}."
            )
        return blend(present, x[:, None], baseline)[:, :, None]


class MarginalImputer(StoredImputer):
    """Absent features take the values of each background row in turn.

    Args:
        background: `(r, *features)`. NaN stands for a missing value, for models that read one; a
            game refuses the others' answers.
        weights: `(r,)`, non-negative, scaled here to sum to 1; None weighs rows alike.

    Raises:
        ValueError: If the background is empty or holds infinity, or the weights do not fit it.

    Source: interventional value function, Janzing, Minorics and Bloebaum (2020).

    Example:
        >>> import torch
        >>> from baselines import MarginalImputer
        >>> x, present = torch.tensor([[1.0, 2.0]]), torch.tensor([[[True, False]]])
        >>> MarginalImputer(torch.tensor([[7.0, 7.0], [9.0, 9.0]]))(x, present)
        tensor([[[[1., 7.],
                  [1., 9.]]]])
    """

    description = "marginal imputer"

    def __init__(self, background: Tensor, weights: Tensor | None = None) -> None:
        super().__init__()
        background = _bounded(as_tensor(background, "background"), "background")
        if background.ndim < 2 or len(background) == 0:
            raise ValueError(
                f"background has shape {tuple(background.shape)}; it needs (r, *features), r >= 1."
            )
        if weights is not None:
            weights = scaled(weights, len(background))
        self.register_buffer("background", background)
        self.register_buffer("weights", weights)
        self.background: Tensor
        self.weights: Tensor | None

    @property
    def n_draws(self) -> int:
        """Imputations `r` per coalition: the background rows."""
        return len(self.background)

    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Imputed rows `(b, m, r, *features)` of `x` `(b, *features)`."""
        if x.shape[1:] != self.background.shape[1:]:
            raise ValueError(
                f"x has features {tuple(x.shape[1:])}; the background has "
                f"{tuple(self.background.shape[1:])}."
            )
        present = feature_mask(x, coalitions)
        return blend(present[:, :, None], x[:, None, None], self.background)


class MaskTokenImputer(StoredImputer):
    """Absent tokens become the mask token.

    Args:
        mask_token_id: Id of the mask token.
        special_ids: Ids that stay whatever a coalition says, such as padding and separators.

    Example:
        >>> import torch
        >>> from baselines import MaskTokenImputer
        >>> ids, present = torch.tensor([[101, 7, 8, 102]]), torch.tensor([[[True, False, True, True]]])
        >>> MaskTokenImputer(103)(ids, present)
        tensor([[[[101, 103,   8, 102]]]])
    """

    description = "mask token imputer"
    n_draws = 1

    def __init__(self, mask_token_id: int, special_ids: list[int] | tuple[int, ...] = ()) -> None:
        super().__init__()
        self.mask_token_id = int(mask_token_id)
        self.special_ids = [int(token) for token in special_ids]

    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Token ids `(b, m, 1, n)` of `x` `(b, n)`.

        Raises:
            TypeError: If `x` does not hold integers.
        """
        if x.is_floating_point() or x.dtype == torch.bool:
            raise TypeError(f"x is {x.dtype}; a mask token needs integer token ids.")
        present = feature_mask(x, coalitions)
        if self.special_ids:
            special = torch.isin(x, torch.tensor(self.special_ids, dtype=x.dtype, device=x.device))
            present = present | special[:, None]
        return torch.where(present, x[:, None], self.mask_token_id)[:, :, None]


class CallableImputer(nn.Module):
    """Any function as an imputer; present entries are put back bit for bit.

    Args:
        fill: `fill(x, present, generator)` takes explicands `(b, *features)` and bool masks `(b,
            m, *features)` and returns values of every feature, `(b, m, r, *features)` or
            whatever broadcasts to it; those of present features are ignored.
        n_draws: Imputations `r`.
        weights: `(r,)`, non-negative, scaled here to sum to 1; None weighs draws alike.
        description: What it does, in words.

    Example:
        >>> import torch
        >>> from baselines import CallableImputer
        >>> x, present = torch.tensor([[1.0, 2.0]]), torch.tensor([[[True, False]]])
        >>> fill = CallableImputer(lambda x, present, generator: torch.full_like(x, -1.0))
        >>> fill(x, present)
        tensor([[[[ 1., -1.]]]])
    """

    def __init__(
        self,
        fill: Callable[[Tensor, Tensor, torch.Generator | None], Tensor],
        n_draws: int = 1,
        weights: Tensor | None = None,
        description: str = "",
    ) -> None:
        super().__init__()
        self.fill = fill
        self.n_draws = check_draws(n_draws)
        self.register_buffer("weights", None if weights is None else scaled(weights, n_draws))
        self.weights: Tensor | None
        self.description = description or f"imputer {getattr(fill, '__name__', 'callable')}"

    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Imputed rows `(b, m, r, *features)` of `x` `(b, *features)`.

        Raises:
            ValueError: If the function's answer does not broadcast to that shape.
        """
        present = feature_mask(x, coalitions)
        filled = self.fill(x, present, generator)
        wanted = (len(x), present.shape[1], self.n_draws, *x.shape[1:])
        try:
            filled = _beside(filled, x).expand(wanted)
        except RuntimeError as error:
            raise ValueError(
                f"the function returned shape {tuple(filled.shape)}; {wanted} is needed."
            ) from error
        return blend(present[:, :, None], x[:, None, None], filled)


def normals(
    generator: torch.Generator | None, leading: tuple[int, int], n_draws: int, n_features: int
) -> Tensor:
    """Standard normal numbers of an imputer that draws.

    Args:
        generator: None for the same numbers in every call, in antithetic pairs whose mean is 0.
        leading: Explicands `b` and coalitions `m`.
        n_draws: Imputations `r`.
        n_features: Flattened features `n`.

    Returns:
        Float64 `(1, 1, r, n)` without a generator, `(b, m, r, n)` with one, on the CPU.
    """
    if generator is not None:
        draw = torch.Generator().manual_seed(key_from(generator))
        size = (*leading, n_draws, n_features)
        return torch.randn(size, generator=draw, dtype=torch.float64)
    half = stream(0, 0).standard_normal(((n_draws + 1) // 2, n_features))
    half = from_array(half)
    if n_draws == 1:
        return torch.zeros(1, 1, 1, n_features, dtype=torch.float64)
    pairs = rearrange([half, -half], "sign p n -> (p sign) n")
    return pairs[None, None, :n_draws]


def uniforms(generator: torch.Generator | None, leading: tuple[int, int], n_draws: int) -> Tensor:
    """Uniform numbers by which an imputer chooses a row or a component.

    Args:
        generator: None for the same numbers in every call, evenly spaced in `(0, 1)`.
        leading: Explicands `b` and coalitions `m`.
        n_draws: Imputations `r`.

    Returns:
        Float64 `(1, 1, r)` without a generator, `(b, m, r)` with one, on the CPU.
    """
    if generator is not None:
        draw = torch.Generator().manual_seed(key_from(generator))
        return torch.rand((*leading, n_draws), generator=draw, dtype=torch.float64)
    return ((torch.arange(n_draws, dtype=torch.float64) + 0.5) / n_draws)[None, None]


def check_draws(n_draws: int) -> int:
    """`n_draws` itself, once it is sure to be a positive integer."""
    if isinstance(n_draws, bool) or not is_a(n_draws, int) or n_draws < 1:
        raise ValueError(f"n_draws={n_draws!r}; an imputer needs at least one draw.")
    return n_draws


def scaled(weights: Tensor, size: int) -> Tensor:
    """Weights `(size,)` that sum to 1.

    Raises:
        ValueError: If they have another shape, or are negative, not finite or all zero.
    """
    weights = as_tensor(weights, "weights", torch.float64)
    if weights.shape != (size,):
        raise ValueError(
            f"weights have shape {tuple(weights.shape)}; one per background row is needed: "
            f"({size},)."
        )
    if not (torch.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError("weights must be finite, non-negative, and not all zero.")
    total = weights.sum()
    # those that sum to 1 already stay bit for bit, so that a saved imputer comes back the same
    return weights if abs(float(total) - 1) < 1e-12 else weights / total


def refuse_rows(kind: type, **needed: object) -> None:
    """Refuse an imputer that was built where it should have been fitted.

    Args:
        kind: Class of the imputer, which has a `fit`.
        **needed: Parts of the fitted law, None where they were left out.

    Raises:
        TypeError: If one was left out.
    """
    missing = [name for name, given in needed.items() if given is None]
    if missing:
        raise TypeError(
            f"{kind.__name__} lacks {', '.join(missing)}: it takes a fitted law, not rows; call "
            f"{kind.__name__}.fit(X) to fit one to rows."
        )


def _bounded(values: Tensor, name: str) -> Tensor:
    """The values themselves, once they are sure to hold no infinity.

    Raises:
        ValueError: If they do.
    """
    if bool(torch.isinf(values).any()):
        raise ValueError(f"{name} holds infinity; pass finite numbers, or NaN for missing values.")
    return values


def _beside(filling: Tensor, x: Tensor) -> Tensor:
    """Fill-in values on the device of `x` and, where `x` is floating point, in its dtype."""
    return filling.to(x) if x.is_floating_point() else filling.to(x.device)


def feature_mask(x: Tensor, coalitions: Tensor) -> Tensor:
    """Coalitions of flattened features in the shape of the features.

    Args:
        x: Explicands `(b, *features)`.
        coalitions: Bool `(b, m, n)`, `n` the number of flattened features.

    Returns:
        Bool `(b, m, *features)`.

    Raises:
        TypeError: If the coalitions are not bool.
        ValueError: If their shape does not fit `x`.
    """
    if coalitions.dtype != torch.bool:
        raise TypeError(f"coalitions are {coalitions.dtype}; an imputer needs bool masks.")
    n_features = prod(x.shape[1:])
    if (
        coalitions.ndim != 3
        or coalitions.shape[-1] != n_features
        or coalitions.shape[0] not in (1, len(x))
    ):
        raise ValueError(
            f"coalitions have shape {tuple(coalitions.shape)}; x of shape {tuple(x.shape)} needs "
            f"(b, m, n) = ({len(x)}, m, {n_features})."
        )
    return coalitions.reshape(*coalitions.shape[:2], *x.shape[1:])
