"""Torch's own CPU stream, lent for a while: layers draw their weights from it when built."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let what reads torch's CPU stream start from a seed, and leave the stream as it was.

    Args:
        seed: Where the stream starts inside.
    """
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which would move the streams of GPUs, which are not given back
        torch.default_generator.manual_seed(seed)
        yield
