"""One harness that judges every explainer against the same ground truth."""

from importlib import import_module
from typing import Any

# Public name -> the file that defines it; loaded on first use (PEP 562), so that importing the
# package costs no more than torch and einops.
_HOME: dict[str, str] = {
    "Evaluation": "evaluation",
    "NotComparable": "comparable",
    "Problem": "problems.problem",
    "check_truth": "truth_jobs",
    "contender_table": "contenders",
    "evaluate": "evaluation",
    "ground_truth": "truth",
    "leaderboard": "standings",
    "load_truth": "truth_jobs",
    "own_problem": "problems.own",
    "paired_difference": "evaluation",
    "plan_truth": "truth_jobs",
    "run_truth": "truth_jobs",
    "sampled": "contenders",
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type is the public object's own
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no public name {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
