"""Provenance: on what, from which code and when a figure was made."""

import datetime
import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path

import torch


def provenance() -> dict[str, str]:
    """Hardware, commit and date of a run.

    Returns:
        `hardware`, `commit` and `date` (UTC, to the second).
    """
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return {"hardware": hardware(), "commit": commit(), "date": now.isoformat()}


@functools.cache
def hardware() -> str:
    """The processor, its threads in use, and the accelerator if there is one."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text().splitlines()
        name = next(
            (s.split(":", 1)[1].strip() for s in lines if s.startswith("model name")), name
        )
    words = f"{name}, {torch.get_num_threads()} threads"
    return f"{words}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else words


@functools.cache
def commit() -> str:
    """Commit of the source tree, with `+` when files differ from it, else the version."""
    here = Path(__file__).resolve().parent
    try:
        words = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        try:
            return f"version {importlib.metadata.version('harsanyi')}"
        except importlib.metadata.PackageNotFoundError:
            return "unknown"
