"""The table of checks names tests and bugs that exist."""

import ast
from pathlib import Path

import pytest

from tests.mutants.table import MUTANTS
from tests.trust.checks import CHECKS, Check

TESTS = Path(__file__).resolve().parent


def test_the_checks_are_numbered_1_to_28():
    assert [check.number for check in CHECKS] == list(range(1, 29))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.number))
def test_a_check_names_tests_and_a_bug_that_exist(check: Check):
    assert check.tests
    for test in check.tests:
        file, _, name = test.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not name or name in functions, test
    assert check.bug in {mutant.bug for mutant in MUTANTS}
