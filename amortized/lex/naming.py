"""Laws of masks and gradient estimators by name, as the config of a saved model holds them."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from amortized.lex.gradients import (
    Enumeration,
    Gradient,
    Imle,
    Pathwise,
    Rebar,
    Reinforce,
    Vimco,
)
from amortized.lex.masks import Bernoulli, ConcreteTopK, MaskLaw, TopK

LAWS: dict[str, Callable[..., MaskLaw]] = {
    "bernoulli": Bernoulli,
    "top-k": TopK,
    "concrete-top-k": ConcreteTopK,
}


def make_law(name: str, k: int | None = None) -> MaskLaw:
    """The law of a name, as it stands in a saved config.

    Args:
        name: `"bernoulli"`, `"top-k"` or `"concrete-top-k"`.
        k: Selection size of the latter two.

    Returns:
        A law.

    Raises:
        ValueError: If the name is unknown, or `k` is missing or superfluous.
    """
    if name not in LAWS:
        raise ValueError(f"law={name!r} is unknown; use one of {tuple(LAWS)}.")
    if (k is None) != (name == "bernoulli"):
        raise ValueError(f"law={name!r} with k={k}; pass k for laws of fixed size, and only then.")
    return LAWS[name]() if k is None else LAWS[name](k)


GRADIENTS: dict[str, Callable[..., Gradient]] = {
    "enumeration": Enumeration,
    "reinforce": Reinforce,
    "vimco": Vimco,
    "rebar": Rebar,
    "pathwise": Pathwise,
    "imle": Imle,
}


def gradient_config(gradient: Gradient) -> dict[str, Any]:
    """Name and settings of a gradient estimator, as saved in a config.

    Args:
        gradient: One of this file's estimators.

    Returns:
        A dict of plain values that `make_gradient` reads back.

    Raises:
        TypeError: If the estimator is not of this file.
    """
    for name, kind in GRADIENTS.items():
        if type(gradient) is kind:
            return {"name": name, **asdict(gradient)}  # pyright: ignore[reportArgumentType]
    raise TypeError(f"{gradient!r} cannot be saved; use one of {tuple(GRADIENTS)}.")


def make_gradient(name: str, **settings: Any) -> Gradient:  # noqa: ANN401 - the estimator's own
    """The gradient estimator of a name.

    Args:
        name: One of `GRADIENTS`.
        **settings: Its settings.

    Returns:
        An estimator.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in GRADIENTS:
        raise ValueError(f"gradient={name!r} is unknown; use one of {tuple(GRADIENTS)}.")
    return GRADIENTS[name](**settings)
