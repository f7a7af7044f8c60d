"""Plant one bug in a copy of the project and see whether its test notices."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COPIED = (
    *("baselines", "harsanyi", "amortized", "bench", "tests", ".github"),
    *("pyproject.toml", "constraints.txt", "README.md", "LICENSE"),
)
PYTEST = (sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--override-ini")
ANY_SPEED = "addopts=-p no:dash --strict-markers --benchmark-skip"
ALL_FAILED, ALL_PASSED = 1, 0


@dataclass(frozen=True)
class Mutant:
    """A planted bug.

    Args:
        bug: What went wrong, in a few words.
        file: The file it is in.
        source: Text to replace; it occurs exactly once.
        replacement: What stands there instead.
        test: The test that must fail, as pytest names it, without the folder.
    """

    bug: str
    file: str
    source: str
    replacement: str
    test: str


@dataclass(frozen=True)
class Verdict:
    """Whether the named test caught the bug, and what pytest said."""

    caught: bool
    said: str


def copy_project(folder: Path) -> Path:
    """A copy of the packages and tests that can be spoiled.

    Args:
        folder: An empty folder.

    Returns:
        The folder.
    """
    folder.mkdir(exist_ok=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def judge(mutant: Mutant, project: Path) -> Verdict:
    """Plant the bug, run its test, take the bug out again.

    Args:
        mutant: The bug.
        project: From `copy_project`.

    Returns:
        Whether the test failed as a test: a bug that breaks the import or the collection proves
        nothing about the law.

    Raises:
        ValueError: If the source text is not in the file exactly once.
    """
    path = project / mutant.file
    whole = path.read_text(encoding="utf-8")
    if (times := whole.count(mutant.source)) != 1:
        raise ValueError(
            f"{mutant.file} holds the source of {mutant.bug!r} {times} times; it must occur once, "
            "so bring the table up to date."
        )
    path.write_text(whole.replace(mutant.source, mutant.replacement), encoding="utf-8")
    try:
        code, said = run_tests([mutant.test], project)
    finally:
        path.write_text(whole, encoding="utf-8")
    return Verdict(code == ALL_FAILED and bool(re.search(r"\b\d+ failed", said)), said)


def run_tests(tests: Iterable[str], project: Path) -> tuple[int, str]:
    """Run tests of a copy in a process of its own.

    Args:
        tests: As pytest names them, without the folder.
        project: From `copy_project`.

    Returns:
        Pytest's exit status and the end of what it printed.
    """
    names = [f"tests/{test}" for test in tests]
    # Without bytecode files: two bugs of equal length in the same second would share one.
    # Without real data: laws that need it are not what these bugs are caught by.
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(project)}
    done = subprocess.run(
        [*PYTEST, ANY_SPEED, *names],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return done.returncode, (done.stdout + done.stderr)[-2000:]
