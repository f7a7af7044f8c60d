"""Passes of a label store: which pairs of which examples were planned, each one a job of shards.

A later pass holds more examples, or more pairs of some; sums of all passes add up.
"""

import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amortized.examples import Examples, read_examples, write_examples
from baselines import shards
from baselines.fingerprints import content_hash


@dataclasses.dataclass(frozen=True)
class Pass:
    """Examples, the pairs planned for each, and the job that makes them.

    Args:
        plan: The job.
        examples: What is explained.
        names: Content hash of each.
        start: First pair of each.
        stop: Its last pair, excluded.
    """

    plan: shards.Plan
    examples: Examples
    names: list[str]
    start: list[int]
    stop: list[int]

    @property
    def seed(self) -> int:
        """Seed of the run that the pairs belong to."""
        return int(self.plan.config["seed"])


def plan_pass(
    folder: Path,
    examples: Examples,
    names: Sequence[str],
    start: Sequence[int],
    stop: Sequence[int],
    *,
    words: Mapping[str, Any],
    shard_size: int,
) -> Pass:
    """Write a pass down, or see that the folder holds the same.

    Args:
        folder: Of this pass.
        examples: What is explained.
        names: Content hash of each.
        start: First pair of each.
        stop: Its last pair, excluded.
        words: What else labels depend on, plain JSON.
        shard_size: Examples in a shard.

    Returns:
        The pass.

    Raises:
        ValueError: If the folder holds another pass.
    """
    spans = [list(map(int, start)), list(map(int, stop))]
    config = {
        "kind": "labels",
        **words,
        "spans": content_hash(spans),
        "harsanyi": importlib.metadata.version("harsanyi"),
    }
    if not (folder / "manifest.json").exists():  # the manifest is written last: it says "planned"
        columns = {"name": list(names), "start": spans[0], "stop": spans[1]}
        write_examples(folder, examples, columns)
    plan = shards.plan_job(folder, config, list(names), shard_size)
    return Pass(plan, examples, list(names), *spans)


def open_pass(folder: Path) -> Pass:
    """The pass of a folder.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    plan = shards.open_job(folder)
    examples, columns = read_examples(folder)
    spans = [columns["start"], columns["stop"]]
    if len(examples) != plan.n_items or content_hash(spans) != plan.config["spans"]:
        raise ValueError(f"the examples in {folder} are not those of its manifest.")
    if content_hash(list(columns["name"])) != plan.items_hash:
        raise ValueError(f"the names in {folder} are not those of its manifest.")
    return Pass(plan, examples, columns["name"], *spans)
