"""What is said of label stores: whether labels may be used, and what they will take."""

import dataclasses
from collections.abc import Mapping

from baselines import shards


@dataclasses.dataclass(frozen=True)
class Checked:
    """What a check of all passes found.

    Args:
        reports: By name of the pass.
        unbalanced: Names of examples whose values do not sum to v(all) - v(none).
    """

    reports: Mapping[str, shards.Report]
    unbalanced: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the labels may be used."""
        sound = all(report.complete for report in self.reports.values())
        return bool(self.reports) and sound and not self.unbalanced

    def __str__(self) -> str:
        if not self.reports:
            return "no pass was planned; generate labels first"
        words = [f"{name}: {report}" for name, report in self.reports.items()]
        if self.unbalanced:
            words.append(
                f"{len(self.unbalanced)} examples do not sum to v(all) - v(none): "
                f"{', '.join(self.unbalanced[:5])}"
            )
        return "\n".join(words)


@dataclasses.dataclass(frozen=True)
class LabelCost:
    """What labels will take.

    Args:
        passes: Shards, worker hours and bytes of each pass that is planned.
        evaluations: Model rows still to be evaluated, extrapolated from the probe.
    """

    passes: tuple[shards.Cost, ...]
    evaluations: int

    @property
    def hours(self) -> float:
        """Hours of one worker for what is still to do."""
        return sum(cost.hours for cost in self.passes)

    @property
    def bytes(self) -> int:
        """Disk space of the whole."""
        return sum(cost.bytes for cost in self.passes)

    def __str__(self) -> str:
        left = sum(cost.pending for cost in self.passes)
        items = sum(cost.items for cost in self.passes)
        return (
            f"{items:,} examples, {left:,} shards to do: {self.evaluations:,} evaluations, "
            f"{self.hours:.3g} worker hours, {self.bytes / 2**20:.3g} MiB on disk"
        )
