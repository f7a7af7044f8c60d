"""Faults at the command line: one sentence that says what to do, an exit code, no traceback."""

import contextlib
import json
import sys
from collections.abc import Iterator

import typer

BAD_INPUT, CHECK_FAILED, INTERRUPTED = 2, 3, 130
"""Exit codes beside 0: what was passed cannot be used; a check did not pass; Ctrl-C."""

EXPECTED = (
    ValueError,
    TypeError,
    FileNotFoundError,
    ImportError,
    PermissionError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
)


@contextlib.contextmanager
def friendly(debug: bool = False, as_json: bool = False) -> Iterator[None]:
    """Turn an expected error into one line on standard error and exit code 2.

    Args:
        debug: Let the traceback through.
        as_json: Write `{"error": ...}` to standard output too, for programs.

    Raises:
        typer.Exit: With code 2 for an expected error, 130 for Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        _tell("interrupted; the same command continues where it stopped.", as_json)
        raise typer.Exit(INTERRUPTED) from error
    except EXPECTED as error:
        if debug:
            raise
        _tell(" ".join(str(error).split()) or type(error).__name__, as_json)
        raise typer.Exit(BAD_INPUT) from error


def _tell(words: str, as_json: bool) -> None:
    # Control characters of a file name or cell must not reach the terminal.
    line = "".join(c if c.isprintable() else "?" for c in words)
    print(f"error: {line}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": line}))
