"""`python -m tests.trust`: every check at its full counts, into docs/trust.md."""

import dataclasses
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.progress import track

from tests.mutants.runner import copy_project, judge
from tests.mutants.table import MUTANTS
from tests.trust.checks import CHECKS, Check

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "trust.md"


@dataclasses.dataclass
class Outcome:
    """What the tests of one check did."""

    passed: int = 0
    skipped: int = 0
    failed: int = 0
    figures: list[tuple[float, float]] = dataclasses.field(default_factory=list)

    @property
    def word(self) -> str:
        """Holds, fails, or was not run."""
        if self.failed:
            return "**fails**"
        return "holds" if self.passed else "not run"

    @property
    def figure(self) -> str:
        """The figure nearest to its threshold, as measured / allowed."""
        if not self.figures:
            return f"{self.passed} tests"
        measured, allowed = max(self.figures, key=lambda pair: pair[0] / pair[1])
        return f"{measured:.2g} / {allowed:.2g}"


def run(folder: Path) -> dict[str, list[ElementTree.Element]]:
    """Run all tests that a check names.

    Args:
        folder: Where the protocol of the run is left.

    Returns:
        File and name of a test, without its parameters -> its cases.
    """
    named = sorted({f"tests/{test}" for check in CHECKS for test in check.tests})
    files = [test for test in named if "::" not in test]
    named = files + [test for test in named if test.split("::")[0] not in files]
    protocol = folder / "protocol.xml"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", "-n", "2", "--dist",
         "loadfile", f"--junitxml={protocol}", "-o", "junit_family=xunit1", *named],
        cwd=ROOT, env=os.environ | {"HARSANYI_TRUST": "full"}, check=False,
    )  # fmt: skip
    cases: dict[str, list[ElementTree.Element]] = {}
    for case in ElementTree.parse(protocol).iter("testcase"):
        file = case.get("classname", "").replace(".", "/") + ".py"
        name = f"{file.removeprefix('tests/')}::{case.get('name', '').split('[')[0]}"
        cases.setdefault(name, []).append(case)
    return cases


def outcome(check: Check, cases: dict[str, list[ElementTree.Element]]) -> Outcome:
    """Add up the cases of a check's tests."""
    found = Outcome()
    for name, some in cases.items():
        if name not in check.tests and name.split("::")[0] not in check.tests:
            continue
        for case in some:
            found.skipped += case.find("skipped") is not None
            bad = case.find("failure") is not None or case.find("error") is not None
            found.failed += bad
            found.passed += not bad and case.find("skipped") is None
            words = {p.get("name"): p.get("value") for p in case.iter("property")}
            if "figure" in words:
                found.figures.append((float(words["figure"]), float(words["threshold"])))
    return found


def caught(check: Check, project: Path) -> str:
    """Plant the check's bug in a copy and ask its first test."""
    if not check.bug:
        return "-"
    mutant = next(mutant for mutant in MUTANTS if mutant.bug == check.bug)
    if mutant.test.split("::")[0] in check.tests or mutant.test in check.tests:
        test = mutant.test
    else:
        test = check.tests[0]
    verdict = judge(dataclasses.replace(mutant, test=test), project)
    return check.bug if verdict.caught else f"**{check.bug}: not caught**"


def page(rows: list[tuple[str, ...]], revision: str) -> str:
    """The table as Markdown."""
    intro = (
        "What a reader may hold us to, and what holds it. Made by `make trust`, commit "
        f"{revision}, {datetime.now(UTC):%Y-%m-%d}; a figure is the one nearest to its threshold."
    )
    lines = [
        "# Trust",
        "",
        intro,
        "",
        "| # | promise | within | measured | result | planted bug it caught | elsewhere |",
        "| ---: | --- | --- | ---: | --- | --- | --- |",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run, plant, write.

    Returns:
        Number of checks that do not hold.
    """
    with tempfile.TemporaryDirectory() as folder:
        cases = run(Path(folder))
        project = copy_project(Path(folder) / "project")
        rows, broken = [], 0
        for check in track(CHECKS, description="planting"):
            found = outcome(check, cases)
            bug = caught(check, project)
            broken += found.word != "holds" or "not caught" in bug
            rows.append(
                (
                    str(check.number), check.law, check.threshold, found.figure, found.word, bug,
                    check.elsewhere or "-",
                )
            )  # fmt: skip
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    PAGE.write_text(page(rows, revision), encoding="utf-8")
    Console().print(f"{len(CHECKS) - broken} of {len(CHECKS)} checks hold; see {PAGE}")
    return broken


if __name__ == "__main__":
    sys.exit(min(1, main()))
