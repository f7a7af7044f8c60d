"""Every planted bug is caught by the law that is named for it."""

from pathlib import Path

import pytest

from tests.mutants.runner import ALL_PASSED, Mutant, copy_project, judge, run_tests
from tests.mutants.table import MUTANTS

ROOT = Path(__file__).resolve().parent.parent


def test_every_planted_bug_still_has_its_place():
    for mutant in MUTANTS:
        assert (ROOT / mutant.file).read_text().count(mutant.source) == 1, mutant.bug
        file, name = mutant.test.split("::")
        assert f"def {name.split('[')[0]}(" in (ROOT / "tests" / file).read_text(), mutant.test
        assert mutant.source != mutant.replacement


def test_there_are_at_least_twenty_planted_bugs():
    assert len(set(MUTANTS)) >= 20
    assert len({mutant.bug for mutant in MUTANTS}) == len(MUTANTS)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("mutants"))


@pytest.mark.slow
def test_without_a_planted_bug_every_named_test_passes(project: Path):
    code, said = run_tests(sorted({mutant.test for mutant in MUTANTS}), project)
    assert code == ALL_PASSED, said
    assert "skipped" not in said, said


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.bug.replace(" ", "-"))
def test_a_planted_bug_is_caught(mutant: Mutant, project: Path):
    verdict = judge(mutant, project)
    assert verdict.caught, f"{mutant.test} did not notice {mutant.bug!r}:\n{verdict.said}"


@pytest.mark.slow
def test_a_change_without_effect_is_not_called_caught(project: Path):
    """The judge itself can say no."""
    harmless = Mutant(
        bug="nothing",
        file="baselines/exact.py",
        source="MAX_PLAYERS = 20",
        replacement="MAX_PLAYERS = 10 + 10",
        test="test_exact.py::test_twenty_one_players_are_refused",
    )
    assert not judge(harmless, project).caught


@pytest.mark.slow
def test_a_bug_that_breaks_the_import_is_not_called_caught(project: Path):
    broken = Mutant(
        bug="syntax",
        file="baselines/exact.py",
        source="MAX_PLAYERS = 20",
        replacement="MAX_PLAYERS = = 20",
        test="test_exact.py::test_twenty_one_players_are_refused",
    )
    assert not judge(broken, project).caught
