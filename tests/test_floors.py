"""Imports point down, guests stay out of the core, and importing us is as light as torch."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("baselines", "harsanyi", "amortized", "bench")
MAY_IMPORT = {
    "baselines": {"baselines"},
    "harsanyi": {"harsanyi", "baselines"},
    "amortized": {"amortized", "baselines"},
    "bench": set(OURS),
}
AT_MODULE_LEVEL_OF_BASELINES = {"torch", "einops", "numpy", "safetensors"}
OPTIONAL = {
    "captum", "goodpoints", "interpret", "jinja2", "lightgbm", "matplotlib", "peft", "ray", "shap",
    "shapiq", "xgboost",
}  # fmt: skip
NOT_LOADED_BY_US = ("transformers", "sklearn", "scipy", "matplotlib", "shap", "pandas", "datasets")
NEVER = {"pickle", "cloudpickle", "dill", "joblib"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imported(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Absolute dotted names one import statement asks for."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else ()
        yield ".".join([*above, *filter(None, [node.module])])


def imports_of(path: Path, *, module_level: bool) -> set[str]:
    """Top-level names imported by a file, anywhere or only when it is loaded."""
    package = path.relative_to(ROOT).parent.parts
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        found |= {name.split(".")[0] for name in imported(node, package)}
        for child in ast.iter_child_nodes(node):
            inside_function = isinstance(
                child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
            )
            lazy = inside_function or (isinstance(child, ast.stmt) and is_type_checking(child))
            if not (module_level and lazy):
                todo.append(child)
    return found


def offenders(package: str, allowed: set[str], *, module_level: bool) -> dict[str, set[str]]:
    outside = {
        str(path.relative_to(ROOT)): imports_of(path, module_level=module_level) - allowed
        for path in modules(package)
    }
    return {path: names for path, names in outside.items() if names}


@pytest.mark.parametrize("package", OURS)
def test_imports_point_down(package: str):
    forbidden = set(OURS) - MAY_IMPORT[package]
    everything_else = {
        name for path in modules(package) for name in imports_of(path, module_level=False)
    } - forbidden
    assert modules(package)
    assert not offenders(package, everything_else, module_level=False)


def test_module_level_imports_of_baselines_are_torch_einops_numpy_safetensors():
    allowed = AT_MODULE_LEVEL_OF_BASELINES | set(sys.stdlib_module_names) | {"baselines"}
    assert not offenders("baselines", allowed, module_level=True)


@pytest.mark.parametrize("package", OURS)
def test_optional_guests_are_imported_where_they_are_used(package: str):
    found = {
        str(path): imports_of(path, module_level=True) & OPTIONAL for path in modules(package)
    }
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize("package", OURS)
def test_nothing_is_pickled(package: str):
    found = {str(path): imports_of(path, module_level=False) & NEVER for path in modules(package)}
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize("package", OURS)
def test_no_file_is_named_after_nothing(package: str):
    vague = {"utils", "util", "common", "helpers", "helper", "misc"}
    assert not {path for path in modules(package) if {path.stem, path.parent.name} & vague}


@pytest.mark.parametrize("package", OURS)
def test_every_public_name_is_where_the_package_says(package: str):
    """Run in one fresh process: a lazy export that points nowhere is found here."""
    code = (
        f"import {package}\n"
        f"names = {package}.__all__\n"
        f"missing = [n for n in names if getattr({package}, n, None) is None]\n"
        "assert not missing, missing"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_importing_harsanyi_and_baselines_loads_no_heavy_library():
    code = (
        "import json, sys\n"
        "import torch, einops\n"  # torch itself may load some of them
        "before = set(sys.modules)\n"
        "import harsanyi, baselines\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & set(NOT_LOADED_BY_US)


def test_the_import_scanner_sees_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The scanner itself is a check, so it must be able to fail."""
    (tmp_path / "baselines").mkdir()
    planted = tmp_path / "baselines" / "planted.py"
    planted.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import pandas\n"
        "try:\n    import shap.plots\nexcept ImportError:\n    shap = None\n"
        "class A:\n    import captum\n"
        "def f():\n    from harsanyi.net import HarsanyiNet\n"
        "from .game import Game\nfrom . import game\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    at_load = {"typing", "shap", "captum", "baselines"}
    assert imports_of(planted, module_level=True) == at_load
    assert imports_of(planted, module_level=False) == at_load | {"pandas", "harsanyi"}
