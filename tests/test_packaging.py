"""The wheel is what users get: it must stand without the source tree."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("amortized", "baselines", "bench", "harsanyi")
pytestmark = pytest.mark.slow


def succeed(*command: str | Path, cwd: Path, path: str = "") -> str:
    """Run a command outside the source tree and return what it printed."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": path}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the backend of the running environment."""
    folder = tmp_path_factory.mktemp("dist")
    succeed(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment holding only our wheel; the dependencies are seen through a path file."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    (site,) = (Path(line) for line in succeed(python, "-c", PURELIB, cwd=folder).split())
    install = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    succeed(*install, "--no-deps", "--no-index", wheel, cwd=folder)
    # Only after the install, and without reading .pth files there: an editable install of ours
    # in the running environment would bring the source tree back in.
    (here,) = (Path(line) for line in succeed(sys.executable, "-c", PURELIB, cwd=folder).split())
    (site / "dependencies.pth").write_text(f"{here}\n")
    return python


PURELIB = "import sysconfig; print(sysconfig.get_path('purelib'))"


def test_wheel_holds_four_typed_packages_and_nothing_else(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {*PACKAGES, "harsanyi-0.1.0.dist-info"}
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert not [name for name in names if name.startswith("bench/speed/") or "/tests/" in name]
    assert "harsanyi-0.1.0.dist-info/licenses/LICENSE" in names


def test_wheel_is_pure_python_and_at_most_one_megabyte(wheel: Path):
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size <= 2**20


def test_wheel_holds_every_file_of_the_packages(wheel: Path):
    """Templates and other files beside the code travel too."""
    tracked = succeed("git", "ls-files", "--", *PACKAGES, cwd=ROOT).splitlines()
    expected = {name for name in tracked if not name.startswith("bench/speed/")}
    assert expected <= set(zipfile.ZipFile(wheel).namelist())


def test_four_packages_import_without_the_source_tree(clean_python: Path, tmp_path: Path):
    code = (
        "import amortized, baselines, bench, harsanyi, importlib.metadata as m\n"
        "print(m.version('harsanyi'), *(p.__file__ for p in (amortized, baselines, bench, harsanyi)))"
    )
    version, *files = succeed(clean_python, "-I", "-c", code, cwd=tmp_path).split()
    assert version == "0.1.0"
    inside = clean_python.parent.parent
    assert all(Path(file).is_relative_to(inside) for file in files)


def test_every_module_of_the_wheel_imports_without_the_source_tree(
    clean_python: Path, tmp_path: Path
):
    code = (
        "import importlib, pkgutil\n"
        f"for top in {PACKAGES!r}:\n"
        "    package = importlib.import_module(top)\n"
        "    for found in pkgutil.walk_packages(package.__path__, top + '.'):\n"
        "        if not found.name.endswith('__main__'):\n"
        "            importlib.import_module(found.name)\n"
    )
    succeed(clean_python, "-I", "-c", code, cwd=tmp_path)


def test_the_command_answers_without_the_source_tree(clean_python: Path, tmp_path: Path):
    command = clean_python.with_name("harsanyi")
    assert "train" in succeed(command, "--help", cwd=tmp_path)
