"""Torch's own CPU stream, lent for a while: layers draw their weights from it when built."""

import numbers
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


def seed_of(random_state: Any) -> int:  # noqa: ANN401
    """The seed that a person means; None draws one of the system's, and no global stream is asked.

    Args:
        random_state: A whole number of at most 63 bits, or None.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it does not fit into 63 bits.
    """
    if random_state is None:
        return torch.Generator().seed() % 2**31
    if not isinstance(random_state, numbers.Integral) or isinstance(random_state, bool):
        raise TypeError(
            f"random_state is a {type(random_state).__name__}; pass an integer, or None."
        )
    seed = int(random_state)
    if not -(2**63) <= seed < 2**63:
        raise ValueError(f"random_state={seed}; pass an integer of at most 63 bits.")
    return seed
