"""Every public name has an example that runs and prints what it says."""

import doctest
import importlib
import inspect

import pytest

PACKAGES = ("baselines", "harsanyi", "amortized", "bench")
PUBLIC = [
    (package, name) for package in PACKAGES for name in importlib.import_module(package).__all__
]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of guests
@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=lambda part: part)
def test_the_example_of_a_public_name_runs(package, name):
    thing = getattr(importlib.import_module(package), name)
    example = doctest.DocTestParser().get_doctest(
        inspect.getdoc(thing) or "", {}, f"{package}.{name}", None, 0
    )
    assert example.examples, f"{package}.{name} shows no example"
    said: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(example, out=said.append)
    assert not said, "".join(said)
