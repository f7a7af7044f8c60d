"""Plans of long jobs: what a job is, written down once, so that nobody resumes another one.

The manifest says everything that results depend on. Whoever comes back with another configuration
is refused, by the name of what differs.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from baselines.files import atomic_write
from baselines.fingerprints import content_hash

FORMAT = 1
"""Version of the folder's layout; a folder of another version is refused, not guessed at."""


@dataclass(frozen=True)
class Plan:
    """What a job is: its folder, its configuration and how its items are cut into shards."""

    folder: Path
    config: Mapping[str, Any]
    n_items: int
    shard_size: int
    items_hash: str

    @property
    def n_shards(self) -> int:
        """Number of shards; the last one may be shorter."""
        return -(-self.n_items // self.shard_size)

    @property
    def fingerprint(self) -> str:
        """Hash of everything that results depend on; each shard carries it."""
        return content_hash(FORMAT, self.config, self.n_items, self.shard_size, self.items_hash)

    def items(self, shard: int) -> range:
        """The items of one shard."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.n_items))

    def path(self, shard: int) -> Path:
        """Where one shard lies: a function of its number alone."""
        return self.folder / "shards" / f"{shard:06d}.safetensors"


def plan_job(
    folder: str | PathLike[str],
    config: Mapping[str, Any],
    items: int | Sequence[str],
    shard_size: int = 256,
) -> Plan:
    """Open a job's folder, or make it: write down what the job is, or see that it is the same.

    Args:
        folder: Where manifest and shards lie.
        config: Everything the results depend on (hashes of model and data, value function,
            budget, seed, code version): plain JSON values.
        items: How many items there are, or one distinct name for each (content hashes of the
            examples, say).
        shard_size: Items in a shard; a kill costs at most the work of one.

    Returns:
        The plan; the same arguments give the same plan in every process.

    Raises:
        ValueError: If the folder holds a job of another configuration, item list, shard size or
            format (the message names what differs), or if an argument is unusable.
        TypeError: If `config` is not plain JSON.
    """
    n_items = _count(items)
    if shard_size < 1:
        raise ValueError(f"shard_size={shard_size}; a shard needs at least one item.")
    plan = Plan(Path(folder), _plain(config), n_items, shard_size, content_hash(items))
    manifest = plan.folder / "manifest.json"
    if manifest.exists():
        _refuse_change(_read_manifest(manifest), _manifest(plan), plan.folder)
    else:
        atomic_write(manifest, json.dumps(_manifest(plan), indent=1, sort_keys=True).encode())
    return plan


def open_job(folder: str | PathLike[str]) -> Plan:
    """The plan of an existing job, from its manifest alone.

    Args:
        folder: A folder that `plan_job` made.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: If there is no manifest.
        ValueError: If the manifest is damaged or of another format.
    """
    manifest = Path(folder) / "manifest.json"
    if not manifest.exists():
        raise FileNotFoundError(f"no job in {folder}: {manifest} is missing; plan the job first.")
    said = _read_manifest(manifest)
    names = ("config", "n_items", "shard_size", "items_hash")
    return Plan(Path(folder), *(said[name] for name in names))


def some(which: Sequence[object], at_most: int = 8) -> str:
    """The first few of many, for a message."""
    shown = ", ".join(str(one) for one in which[:at_most])
    return shown + (", ..." if len(which) > at_most else "")


def _count(items: int | Sequence[str]) -> int:
    if isinstance(items, int):
        if items < 1:
            raise ValueError(f"items={items}; a job needs at least one item.")
        return items
    if not items:
        raise ValueError("items is empty; a job needs at least one item.")
    if len(set(items)) != len(items):
        twice = [name for name, times in Counter(items).items() if times > 1]
        raise ValueError(f"items names {some(twice)} more than once; names must be distinct.")
    return len(items)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as the manifest will give it back."""
    try:
        return json.loads(json.dumps(dict(config), sort_keys=True, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"config must be plain JSON values without NaN: {error}") from error


def _manifest(plan: Plan) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "config": plan.config,
        "n_items": plan.n_items,
        "shard_size": plan.shard_size,
        "items_hash": plan.items_hash,
        "fingerprint": plan.fingerprint,
    }


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}); plan the job in a new folder.") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise ValueError(f"{path} is not a manifest of format {FORMAT}; use a new folder.")
    lacking = {"config", "n_items", "shard_size", "items_hash"} - set(said)
    if lacking:
        raise ValueError(f"{path} lacks {sorted(lacking)}; plan the job in a new folder.")
    return said


def _refuse_change(there: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    before, after = ({**said, **said["config"]} for said in (there, wanted))
    names = sorted((set(before) | set(after)) - {"config", "fingerprint"})
    changed = [
        f"{name} ({before.get(name)!r:.60} there, {after.get(name)!r:.60} now)"
        for name in names
        if before.get(name) != after.get(name)
    ]
    if changed:
        raise ValueError(
            f"{folder} holds another job: {'; '.join(changed)} differ. Use a new folder, or the "
            "old configuration to resume."
        )
