"""Doctor: versions, threads, device, extras, and packages whose names clash with ours."""

import importlib
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path
from typing import Any

OURS = ("baselines", "harsanyi", "amortized", "bench")
DISTRIBUTION = "harsanyi"
CORE = (
    *("torch", "numpy", "einops", "safetensors", "transformers", "datasets", "accelerate"),
    *("scikit-learn", "scipy", "pandas", "pyarrow", "typer", "rich", "tqdm"),
)
EXTRAS = {
    "plots": ("matplotlib",),
    "report": ("jinja2", "matplotlib"),
    "shap": ("shap",),
    "shapiq": ("shapiq",),
    "captum": ("captum",),
    "interpret": ("interpret-core",),
    "lightgbm": ("lightgbm",),
    "xgboost": ("xgboost",),
    "compress": ("goodpoints",),
    "lora": ("peft",),
    "ray": ("ray",),
}


def examine() -> dict[str, Any]:
    """Everything a bug report needs.

    Returns:
        Plain JSON values: `python`, `platform`, `versions`, `threads`, `device`, `extras`, `data`
        and `clashes`, the last a list of sentences, empty when all is well.
    """
    import torch

    gpu = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in (DISTRIBUTION, *CORE)},
        "threads": {
            "torch": torch.get_num_threads(),
            "cpus": os.cpu_count(),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        },
        "device": f"cuda: {torch.cuda.get_device_name()}" if gpu else "cpu",
        "extras": {
            extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()
        },
        "data": _data(),
        "clashes": clashes(),
    }


def clashes() -> list[str]:
    """Other distributions that supply a top-level package named like one of ours.

    Returns:
        A sentence for each, saying what to do; empty when there are none.
    """
    found = []
    suppliers = importlib.metadata.packages_distributions()
    for package in OURS:
        others = sorted({name for name in suppliers.get(package, []) if name != DISTRIBUTION})
        if others:
            found.append(
                f"package {package!r} is also supplied by {', '.join(others)}: one overwrites "
                f"the other. Uninstall it (pip uninstall {others[0]}) or install harsanyi in an "
                "environment of its own, then reinstall harsanyi."
            )
    home = Path(__file__).resolve().parent.parent
    for package in OURS:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            found.append(f"package {package!r} cannot be imported; reinstall harsanyi.")
        elif Path(spec.origin).resolve().parent.parent != home:
            found.append(
                f"import {package} finds {spec.origin}, which is not ours ({home}); a folder of "
                "that name shadows it. Start Python elsewhere or rename that folder."
            )
    return found


def missing_core(report: dict[str, Any]) -> list[str]:
    """Core dependencies that are not installed.

    Args:
        report: From `examine`.
    """
    return [name for name in CORE if report["versions"][name] is None]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _data() -> str | None:
    from bench.problems.tabular import data_folder

    try:
        return str(data_folder())
    except FileNotFoundError:
        return None
