"""Costs that a clock does not show: CPU time, operations, peak memory, energy, break-even."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_ENERGY = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


def cpu_clock() -> float:
    """CPU-seconds that this process has used, and its children that ended: no neighbour moves it."""
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


@dataclasses.dataclass
class Meters:
    """What was read while a context was open; NaN where this machine cannot tell.

    Args:
        peak_memory: Bytes above what the process held on entry, at its fullest moment.
        joules: Energy of the processor package, everything else on it included.
    """

    peak_memory: float = float("nan")
    joules: float = float("nan")


@contextlib.contextmanager
def open_meters() -> Iterator[Meters]:
    """Read peak memory and energy while the context is open.

    On CUDA the memory is the device's. On Linux it is the resident size, whose high-water mark the
    kernel resets on request; elsewhere it stays NaN.

    Yields:
        The meters, read when the context closes.
    """
    meters = Meters()
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else _reset_high_water()
    energy = _energy()
    try:
        yield meters
    finally:
        after = torch.cuda.max_memory_allocated() if cuda else _resident("VmHWM")
        meters.peak_memory = max(0.0, after - before)
        spent = _energy() - energy
        meters.joules = spent if spent >= 0 else float("nan")  # the counter wrapped


def count_flops(call: Callable[[], Any]) -> float:
    """Floating-point operations of the matrix products and convolutions that torch runs.

    Args:
        call: Whatever is to be counted; it is called once.

    Returns:
        Their number; NaN where torch ran none, since other libraries' operations are not seen.
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        call()
    total = counter.get_total_flops()
    return float(total) if total else float("nan")


def break_even(train_seconds: float, seconds: float, other_seconds: float) -> float:
    """Explanations after which a trained explainer has paid for its training.

    Args:
        train_seconds: Of the training, labels included.
        seconds: Per explanation, once trained.
        other_seconds: Per explanation by what it replaces, at equal error.

    Returns:
        Their number; infinite where it never pays, NaN where something is unknown.
    """
    if np.isnan([train_seconds, seconds, other_seconds]).any():
        return float("nan")
    saved = other_seconds - seconds
    return train_seconds / saved if saved > 0 else float("inf")


def _reset_high_water() -> float:
    try:
        _RESET.write_text("5")
    except OSError:  # another system, or a process that may not
        return float("nan")
    return _resident("VmRSS")


def _resident(field: str) -> float:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return float("nan")
    found = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return 1024.0 * float(found[0]) if found else float("nan")


def _energy() -> float:
    try:
        return float(_ENERGY.read_text()) / 1e6
    except (OSError, ValueError):
        return float("nan")
