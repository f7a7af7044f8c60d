"""A user's own explainer: tried on two rows before anything costs time, and named when it fails."""

import contextlib
import inspect
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.problems.problem import Problem

FEW = 2
"""Rows that a guest is tried on."""


class GuestFailed(ValueError):
    """A guest's own code failed; the message names its file and line."""


@contextlib.contextmanager
def blamed(guest: str) -> Iterator[None]:
    """Turn whatever a guest raises into one sentence that names it.

    Args:
        guest: As the user named it, `FILE.py:NAME`.

    Raises:
        GuestFailed: From any exception of the guest.
    """
    try:
        yield
    except GuestFailed:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        raise GuestFailed(
            f"{guest} raised {type(error).__name__}{f' ({said})' if said else ''}"
            f"{_line_of(guest, error)}."
        ) from error


def check_signature(guest: str, contender: Any) -> None:  # noqa: ANN401 - a callable
    """See that a guest can be called with a problem and nothing else.

    Args:
        guest: As the user named it.
        contender: What it names.

    Raises:
        GuestFailed: If it takes anything else.
    """
    try:
        signature = inspect.signature(contender)
    except (TypeError, ValueError):  # of code that is not Python: the trial will tell
        return
    try:
        signature.bind(None)
    except TypeError as error:
        name = guest.rpartition(":")[2]
        raise GuestFailed(
            f"{guest} takes {signature}; a contender is called with one bench.Problem, as "
            f"{name}(problem), and returns an object with explain(x) -> baselines.Explanation."
        ) from error


def try_out(guest: str, contender: Any, problem: Problem) -> None:  # noqa: ANN401 - a callable
    """Let a guest explain two rows, so that a mistake in it costs seconds.

    Args:
        guest: As the user named it.
        contender: A function from a Problem to an Explainer.
        problem: Whose first rows are explained; all of them where its game has no parts.

    Raises:
        GuestFailed: If it raises, or answers with anything but an Explanation of these rows.
    """
    from bench.evaluation import evaluate

    check_signature(guest, contender)
    whole = problem.is_whole or len(problem) <= FEW
    few = problem if whole else problem.select(slice(0, FEW))
    with blamed(guest):
        evaluate(contender, few, None, name=guest)


def _line_of(guest: str, error: Exception) -> str:
    """Where in the guest's file it happened, if it did."""
    path = Path(guest.rpartition(":")[0])
    if not path.is_file():
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if _same_file(frame.filename, path)]
    return f" at line {lines[-1]}" if lines else ""


def _same_file(name: str, path: Path) -> bool:
    there = Path(name)
    return there.is_file() and there.samefile(path)
