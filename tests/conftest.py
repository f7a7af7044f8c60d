"""What every test may ask for: device, dtype, a seeded generator, the folder of real data."""

import os
import random
from pathlib import Path

# Set before anything imports them: tests draw without a screen and never reach for a network.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where tensors of the tests live")
    parser.addoption(
        "--dtype", default="float64", choices=("float64", "float32"), help="their precision"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Start every test, its fixtures included, from one state of the global generators.

    Layers of torch are born with weights drawn from it; without this a law with a tolerance would
    meet another net in every run, and now and then one that it was not measured on.
    """
    torch.manual_seed(0)
    np.random.seed(0)  # guests draw from it
    random.seed(0)


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device of `--device`, cpu unless given."""
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The dtype of `--dtype`, float64 unless given."""
    return getattr(torch, request.config.getoption("--dtype"))


@pytest.fixture
def generator() -> torch.Generator:
    """A CPU generator with seed 0, new for every test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real data: `$HARSANYI_DATA`, else `../shared/data` beside the repository; else a skip."""
    named = os.environ.get("HARSANYI_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real data: no folder {folder}; set HARSANYI_DATA to one")
    return folder
