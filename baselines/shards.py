"""Long jobs as idempotent shards: planned once, run by anybody, checked before they count.

A job is a folder: `manifest.json` says what it is, `shards/` holds one safetensors file for each
range of items, `SUCCESS.json` exists once a check has passed. A worker needs nothing but the
folder: no collectives, no locks, no leases. Two workers that do the same shard write the same
content under the same name, so double work is harmless and a kill costs one shard at most.

    plan = plan_job(folder, config, items=ids, shard_size=256)
    run(plan, work)              # in any number of processes, again after any crash
    report = check(plan)         # the only thing that declares success
    values = load(folder)["values"]
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from baselines.files import atomic_write
from baselines.fingerprints import content_hash
from baselines.plans import Plan, open_job, plan_job, some

__all__ = [
    "Cost",
    "Plan",
    "Report",
    "Work",
    "atomic_write",
    "check",
    "each_shard",
    "estimate",
    "load",
    "open_job",
    "pending",
    "plan_job",
    "run",
    "run_shard",
]

ITEM = "item"
"""Name of the int64 tensor in every shard that says which item each row belongs to."""

STALE_SECONDS = 3600.0
"""A temporary file this old was left by a killed worker: writing one takes seconds."""

Work = Callable[[Sequence[int]], Mapping[str, Tensor]]
"""Item numbers to named tensors, whose first axis follows the items. It must be a function of the
items alone: draw randomness from a key of the item (`fingerprints.key_of`), never of the rank."""


@dataclass(frozen=True)
class Cost:
    """What a job will take, extrapolated from a few of its items."""

    items: int
    shards: int
    pending: int
    hours: float
    bytes: int

    def __str__(self) -> str:
        return (
            f"{self.items} items in {self.shards} shards, {self.pending} of them to do: "
            f"{self.hours:.3g} worker hours, {self.bytes / 2**20:.3g} MiB in all"
        )


@dataclass(frozen=True)
class Report:
    """What a check found: shards that lack or are damaged, items that occur twice or not finite."""

    missing: tuple[int, ...] = ()
    corrupt: Mapping[int, str] = field(default_factory=dict)
    duplicates: tuple[int, ...] = ()
    non_finite: tuple[int, ...] = ()
    strays: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the job's results may be used."""
        return not (
            self.missing or self.corrupt or self.duplicates or self.non_finite or self.strays
        )

    def __str__(self) -> str:
        if self.complete:
            return "complete: every shard is there and whole, every item once, every value finite"
        found = {
            "missing shards": self.missing,
            "corrupt shards": tuple(f"{shard} ({why})" for shard, why in self.corrupt.items()),
            "items that occur twice": self.duplicates,
            "items with non-finite values": self.non_finite,
            "files that do not belong there": self.strays,
        }
        return "\n".join(
            f"{len(which)} {what}: {some(which)}" for what, which in found.items() if which
        )


def pending(plan: Plan) -> list[int]:
    """Shards that are missing or damaged, by reading what is there.

    Args:
        plan: The job.

    Returns:
        Their numbers, in order.
    """
    return [shard for shard in range(plan.n_shards) if _fault(plan, shard)]


def estimate(plan: Plan, work: Work, probe: int = 4) -> Cost:
    """What the job will cost, from doing a few of its items and throwing them away.

    Args:
        plan: The job.
        work: As `run` takes it.
        probe: Items to try, spread evenly over all.

    Returns:
        Hours of one worker for what is still to do, and the disk space of the whole.
    """
    chosen = torch.linspace(0, plan.n_items - 1, min(probe, plan.n_items)).long().unique().tolist()
    started = time.perf_counter()
    tensors = _checked(work(chosen), chosen)
    seconds = (time.perf_counter() - started) / len(chosen)
    per_item = sum(t.numel() * t.element_size() for t in tensors.values()) / len(chosen)
    todo = pending(plan)
    left = sum(len(plan.items(shard)) for shard in todo)
    return Cost(
        items=plan.n_items,
        shards=plan.n_shards,
        pending=len(todo),
        hours=left * seconds / 3600,
        bytes=round(per_item * plan.n_items),
    )


def run(
    plan: Plan,
    work: Work,
    *,
    rank: int | None = None,
    world_size: int | None = None,
    redo: Iterable[int] = (),
    progress: bool = True,
) -> list[int]:
    """Do what is not done yet; safe to start again, and in any number of processes.

    Worker `rank` of `world_size` takes shards rank, rank + world_size, ... and, when it has done
    its own, those that others have not finished, last ones first. Whole shards are skipped.

    Args:
        plan: The job.
        work: Results of a list of items, a function of the items alone.
        rank: This worker's number; `$RANK` (which torchrun sets), else 0, when None.
        world_size: Number of workers; `$WORLD_SIZE`, else 1, when None.
        redo: Shards to do again though they are whole (a check found bad values there, say).
        progress: Show a bar of shards.

    Returns:
        Numbers of the shards this call wrote.

    Raises:
        ValueError: If rank and world_size do not fit, or `work` returns something unusable.
        OSError: From the file system; what was done stays done.
    """
    from tqdm.auto import tqdm

    rank = int(os.environ.get("RANK", "0")) if rank is None else rank
    world_size = int(os.environ.get("WORLD_SIZE", "1")) if world_size is None else world_size
    if not 0 <= rank < world_size:
        raise ValueError(f"rank={rank} of world_size={world_size}; 0 <= rank < world_size.")
    _sweep(plan.folder / "shards")
    again = set(redo)
    todo = sorted(again.union(pending(plan)))
    mine = [shard for shard in todo if shard % world_size == rank]
    others = [s for s in reversed(todo) if s % world_size != rank and s not in again]
    written = []
    bar = tqdm(mine + others, desc=f"shards {rank}/{world_size}", disable=not progress)
    for position, shard in enumerate(bar):
        if position >= len(mine) and not _fault(plan, shard):
            continue  # its owner has done it meanwhile
        run_shard(plan, shard, work)
        written.append(shard)
    return written


def run_shard(plan: Plan, shard: int, work: Work) -> Path:
    """Do one shard, whoever asks: the unit that every launcher calls.

    Args:
        plan: The job.
        shard: Number of the shard.
        work: As `run` takes it.

    Returns:
        The file that now holds the shard.

    Raises:
        ValueError: If there is no such shard, or `work` returns rows that do not fit its items.
        TypeError: If `work` returns something else than tensors.
    """
    if not 0 <= shard < plan.n_shards:
        raise ValueError(f"shard={shard}; this job has shards 0 to {plan.n_shards - 1}.")
    items = plan.items(shard)
    tensors = _checked(work(items), items)
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    stored = {name: tensor.clone() for name, tensor in stored.items()}  # views may share memory
    stored[ITEM] = torch.tensor(list(items), dtype=torch.int64)
    about = {"plan": plan.fingerprint, "shard": shard, "content": content_hash(stored)}
    # One metadata entry: the order of several is not fixed, and files of equal content are equal.
    metadata = {"harsanyi": json.dumps(about, sort_keys=True)}
    _success(plan).unlink(missing_ok=True)
    atomic_write(plan.path(shard), to_safetensors(stored, metadata=metadata))
    return plan.path(shard)


def check(job: Plan | str | PathLike[str]) -> Report:
    """Read every shard and say what is wrong; only this declares success.

    `SUCCESS.json` is written when nothing is wrong and removed when something is.

    Args:
        job: The plan, or the folder.

    Returns:
        What was found; `report.complete` says whether the results may be used.

    Raises:
        FileNotFoundError: If the folder holds no job.
    """
    plan = job if isinstance(job, Plan) else open_job(job)
    missing, corrupt = [], {}
    seen: dict[int, int] = {}
    non_finite: list[int] = []
    for shard in range(plan.n_shards):
        fault = _fault(plan, shard)
        if fault == MISSING:
            missing.append(shard)
        elif fault:
            corrupt[shard] = fault
        if fault not in ("", OTHER_ITEMS):
            continue
        tensors = _tensors(plan.path(shard))
        for item in tensors[ITEM].tolist():
            seen[item] = seen.get(item, 0) + 1
        non_finite += tensors[ITEM][_bad_rows(tensors)].tolist()
    expected = {plan.path(shard).name for shard in range(plan.n_shards)}
    found = _visible(plan.folder / "shards")
    report = Report(
        missing=tuple(missing),
        corrupt=corrupt,
        duplicates=tuple(item for item, times in seen.items() if times > 1),
        non_finite=tuple(non_finite),
        strays=tuple(sorted(found - expected)),
    )
    _declare(plan, report)
    return report


def load(folder: str | PathLike[str]) -> dict[str, Tensor]:
    """All results of a job that passed its check, in the order of the items.

    Args:
        folder: The job's folder.

    Returns:
        Named tensors with one row per item; `item` counts them.

    Raises:
        FileNotFoundError: If there is no job, or no check has passed since the last change.
        ValueError: If shards differ in row shape (read them one by one with `each_shard`), or one
            was damaged after the check.
    """
    parts = [tensors for _, tensors in each_shard(folder)]
    if not parts:
        return {}
    shapes = {name: {part[name].shape[1:] for part in parts} for name in parts[0]}
    ragged = [name for name, found in shapes.items() if len(found) > 1]
    if ragged:
        raise ValueError(f"{ragged} differ in row shape between shards; use each_shard().")
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def each_shard(folder: str | PathLike[str]) -> Iterator[tuple[range, dict[str, Tensor]]]:
    """Results of a checked job shard by shard, for what does not fit memory or is ragged.

    Args:
        folder: The job's folder.

    Yields:
        Items of a shard and its tensors.

    Raises:
        FileNotFoundError: If there is no job, or no check has passed since the last change.
        ValueError: If a shard was damaged after the check.
    """
    plan = open_job(folder)
    if not _succeeded(plan):
        raise FileNotFoundError(
            f"{plan.folder} has not passed its check: run check() and finish what it names."
        )
    for shard in range(plan.n_shards):
        if fault := _fault(plan, shard):
            raise ValueError(f"shard {shard} of {plan.folder} is {fault}; run the job again.")
        yield plan.items(shard), _tensors(plan.path(shard))


MISSING = "missing"
OTHER_ITEMS = "holding other items than planned"


def _fault(plan: Plan, shard: int) -> str:
    """What is wrong with a shard's file; empty when nothing is."""
    path = plan.path(shard)
    if not path.exists():
        return MISSING
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("harsanyi", "{}"))
        tensors = _tensors(path)
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        return f"unreadable: {error}"
    if about.get("plan") != plan.fingerprint or about.get("shard") != shard:
        return "of another job or another place"
    if about.get("content") != content_hash(tensors):
        return "changed since it was written: the checksum differs"
    if sorted(tensors[ITEM].tolist()) != list(plan.items(shard)):
        return OTHER_ITEMS
    return ""


def _tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in sorted(file.keys())}


def _checked(results: Mapping[str, Tensor], items: Sequence[int]) -> dict[str, Tensor]:
    """What `work` returned, if it is named tensors with a row for each item."""
    if not isinstance(results, Mapping) or not results:
        raise ValueError(f"work returned {results!r:.200}; it must return named tensors.")
    for name, tensor in results.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"work returned a {type(tensor).__name__} for {name!r}, not a tensor.")
        if tensor.ndim == 0 or len(tensor) != len(items):
            raise ValueError(
                f"work returned {name!r} of shape {tuple(tensor.shape)} for {len(items)} items; "
                "the first axis must follow the items."
            )
    if ITEM in results:
        raise ValueError(f"work returned {ITEM!r}, a name the shards keep for themselves.")
    return dict(results)


def _bad_rows(tensors: Mapping[str, Tensor]) -> Tensor:
    """Bool `(rows,)`: rows that hold a value that is not finite in any tensor."""
    bad = torch.zeros(len(tensors[ITEM]), dtype=torch.bool)
    for tensor in tensors.values():
        if tensor.is_floating_point() or tensor.is_complex():
            bad |= ~tensor.reshape(len(tensor), -1).isfinite().all(-1)
    return bad


def _success(plan: Plan) -> Path:
    return plan.folder / "SUCCESS.json"


def _declare(plan: Plan, report: Report) -> None:
    if report.complete:
        said = {"fingerprint": plan.fingerprint, "items": plan.n_items, "shards": plan.n_shards}
        atomic_write(_success(plan), json.dumps(said, sort_keys=True).encode())
    else:
        _success(plan).unlink(missing_ok=True)


def _succeeded(plan: Plan) -> bool:
    if not _success(plan).exists():
        return False
    return json.loads(_success(plan).read_bytes()).get("fingerprint") == plan.fingerprint


def _visible(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def _sweep(folder: Path) -> None:
    """Remove what killed workers left half written, not what others are writing now."""
    for path in folder.glob(".*.tmp") if folder.is_dir() else ():
        try:
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
        except FileNotFoundError:
            continue  # another worker swept it, or finished it, first
