"""`python -m tests.trust`: every check at its full counts, into docs/trust.md; killed, it goes on."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.progress import track

from baselines.files import atomic_write
from tests.mutants.runner import copy_project, judge
from tests.mutants.table import MUTANTS
from tests.trust.checks import CHECKS, Check

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "trust.md"
WORKERS = os.environ.get("WORKERS", "2")
LONGEST = 13
"""The check that plants every bug there is goes last."""
FULL_COUNTS = {"HARSANYI_TRUST": "full", "HARSANYI_KILLS": "20"}


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


def run(check: Check, folder: Path) -> list[ElementTree.Element]:
    """Run the tests of a check at their full counts.

    Args:
        check: Whose tests.
        folder: Where the protocol of the run is left.

    Returns:
        Their cases.
    """
    protocol = folder / f"{check.number}.xml"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", "-n", WORKERS, "--dist",
         "loadfile", f"--junitxml={protocol}", "-o", "junit_family=xunit1",
         *(f"tests/{test}" for test in check.tests)],
        cwd=ROOT, env=os.environ | FULL_COUNTS, check=False,
    )  # fmt: skip
    return list(ElementTree.parse(protocol).iter("testcase"))


def outcome(cases: Iterable[ElementTree.Element]) -> Outcome:
    """Add up the cases of a check's tests."""
    found = Outcome()
    for case in cases:
        found.skipped += case.find("skipped") is not None
        bad = case.find("failure") is not None or case.find("error") is not None
        found.failed += bad
        found.passed += not bad and case.find("skipped") is None
        words = {p.get("name"): p.get("value") for p in case.iter("property")}
        if "figure" in words:
            found.figures.append((float(words["figure"]), float(words["threshold"])))
    return found


def caught(check: Check, project: Path) -> str:
    """Plant the check's bug in a copy and ask the test that should notice."""
    mutant = next(mutant for mutant in MUTANTS if mutant.bug == check.bug)
    file, name = mutant.test.split("[")[0].split("::")
    own = file in check.tests or f"{file}::{name}" in check.tests
    test = mutant.test if own else check.tests[0]
    verdict = judge(dataclasses.replace(mutant, test=test), project)
    return check.bug if verdict.caught else f"**{check.bug}: not caught**"


def judge_check(check: Check, project: Path, folder: Path) -> list[str]:
    """One row of the table: what was promised, measured and caught."""
    found, bug = outcome(run(check, folder)), caught(check, project)
    return [
        str(check.number), check.law, check.threshold, found.figure, found.word, bug,
        check.elsewhere or "-",
    ]  # fmt: skip


def unjudged(check: Check) -> list[str]:
    """The row of a check whose turn has not come."""
    return [str(check.number), check.law, check.threshold, "-", "not judged yet", "-", "-"]


def holds(row: Sequence[str]) -> bool:
    """Whether a check held and its bug was caught."""
    return row[4] == "holds" and "not caught" not in row[5]


def page(rows: Iterable[Sequence[str]], revision: str, more: str) -> str:
    """The table as Markdown, then what else was measured."""
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
    return "\n".join(lines) + more


def rest_of_page() -> str:
    """What stands below the table, written by hand and kept."""
    _, mark, rest = (PAGE.read_text(encoding="utf-8") if PAGE.is_file() else "").partition("\n## ")
    return mark + rest


def main() -> int:
    """Judge every check that is not judged yet at this commit, then write the table.

    Returns:
        Number of checks that do not hold.
    """
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()  # fmt: skip
    kept = ROOT / "out" / "trust" / revision  # so that a run that was killed goes on
    kept.mkdir(parents=True, exist_ok=True)
    rows: dict[int, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        project = copy_project(Path(folder) / "project")
        for check in track(sorted(CHECKS, key=lambda check: check.number == LONGEST)):
            path = kept / f"{check.number}.json"
            if not path.is_file():
                row = judge_check(check, project, Path(folder))
                atomic_write(path, json.dumps(row).encode())
            rows[check.number] = json.loads(path.read_text(encoding="utf-8"))
            whole = [rows.get(one.number) or unjudged(one) for one in CHECKS]
            atomic_write(PAGE, page(whole, revision, rest_of_page()).encode())
    held = sum(map(holds, rows.values()))
    Console().print(f"{held} of {len(CHECKS)} checks hold; see {PAGE}")
    return len(CHECKS) - held


if __name__ == "__main__":
    sys.exit(min(1, main()))
