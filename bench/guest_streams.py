"""The global random streams that guests read: set for one answer, then given back."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from baselines.randomness import seeded


@contextmanager
def guest_seeded(seed: int) -> Iterator[None]:
    """Let a guest that takes no generator start from a seed, in torch's and numpy's stream.

    Args:
        seed: Where both streams start inside; afterwards they go on as if nothing had happened.
    """
    state = np.random.get_state()
    try:
        with seeded(seed):
            np.random.seed(seed)
            yield
    finally:
        np.random.set_state(state)
