"""Checks 24, 27 and 28: light to import, pinned, and said in full."""

import importlib
import inspect
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.trust.conftest import FULL

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = ("baselines", "harsanyi", "amortized", "bench")

TIMED = """
import time
start = time.process_time(); import torch; torch_seconds = time.process_time() - start
import harsanyi, baselines
print((time.process_time() - start) / torch_seconds)
"""


@pytest.mark.skipif(not FULL, reason="a time, taken by `make trust` only")
def test_importing_us_takes_little_more_than_importing_torch(figure):
    ratios = [
        float(
            subprocess.run(
                [sys.executable, "-c", TIMED], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(5)
    ]
    figure(statistics.median(ratios), 1.2)


def uses(workflow: Path) -> list[str]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    return [step["uses"] for job in jobs for step in job["steps"] if "uses" in step]


@pytest.mark.parametrize("name", ["ci", "pages", "release"])
def test_every_action_is_pinned_by_hash(name):
    named = uses(ROOT / ".github" / "workflows" / f"{name}.yml")
    assert named
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in named)


def test_publishing_keeps_no_token():
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert "id-token: write" in text
    assert not re.search(r"secrets\.|password", text)


def test_every_requirement_of_the_tests_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"]]
    for name in ("plots", "report", "test", "dev", "docs", "captum", "shapiq"):
        asked += [line for line in extras[name] if not line.startswith("harsanyi")]
    names = {re.match(r"[\w-]+", line).group().lower().replace("_", "-") for line in asked}
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert names <= pinned


@pytest.mark.parametrize("package", OURS)
def test_what_holds_a_public_name_is_checked_strictly(package):
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    strict = {path for glob in tools["pyright"]["strict"] for path in ROOT.glob(glob)}
    home = importlib.import_module(package)._HOME
    files = {Path(importlib.import_module(f"{package}.{at}").__file__) for at in home.values()}
    assert {ROOT / package / "__init__.py"} | files <= strict


AS_ANOTHER = {"HarsanyiRegressor": "HarsanyiClassifier"}
"""Names that say to take what another takes."""


def arguments_unsaid(thing: object) -> list[str]:
    """Arguments that a docstring does not name; everything when there is none."""
    words = inspect.getdoc(thing) or ""
    if inspect.isclass(thing):
        if getattr(thing, "_is_protocol", False) or issubclass(thing, Exception):
            return [] if words else ["no docstring"]
        words += inspect.getdoc(thing.__init__) or ""
        ours = thing.__dict__.get("__init__")
        own = set(thing.__annotations__) if hasattr(thing, "model_type") or not ours else None
    else:
        own = None
    named = [
        argument.name
        for argument in inspect.signature(thing).parameters.values()
        if argument.kind in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY)
        and (own is None or argument.name in own)
    ]
    return [name for name in named if not re.search(rf"\b{name}\b", words)]


@pytest.mark.parametrize("package", OURS)
def test_every_public_name_says_what_it_takes(package):
    module = importlib.import_module(package)
    silent = {name: arguments_unsaid(getattr(module, name)) for name in module.__all__}
    for name, other in AS_ANOTHER.items():
        if name in silent:
            assert other in (getattr(module, name).__doc__ or "")
            del silent[name]
    assert not {name: unsaid for name, unsaid in silent.items() if unsaid}
