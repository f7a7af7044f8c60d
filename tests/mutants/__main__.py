"""`python -m tests.mutants [word]`: the table of planted bugs and who catches them."""

import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.mutants.runner import copy_project, judge
from tests.mutants.table import MUTANTS


def main(word: str = "") -> int:
    """Judge every mutant whose bug, file or test contains the word.

    Args:
        word: All when empty.

    Returns:
        Number of bugs that nobody caught.
    """
    chosen = [m for m in MUTANTS if word in f"{m.bug} {m.file} {m.test}"]
    table = Table("planted bug", "in", "caught by", "caught")
    escaped = 0
    with tempfile.TemporaryDirectory() as folder:
        project = copy_project(Path(folder))
        for mutant in track(chosen, description="planting"):
            verdict = judge(mutant, project)
            escaped += not verdict.caught
            mark = "[green]yes[/]" if verdict.caught else "[red]NO[/]"
            table.add_row(mutant.bug, mutant.file, mutant.test.split("::")[-1], mark)
    Console().print(table, f"{len(chosen) - escaped} of {len(chosen)} planted bugs caught")
    return escaped


if __name__ == "__main__":
    sys.exit(min(1, main(*sys.argv[1:2])))
