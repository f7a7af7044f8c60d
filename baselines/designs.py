"""Which coalitions a regression looks at: complementary pairs, drawn by size without replacement.

A larger sample begins with a smaller one of the same key, so an answer can be continued. Samples
and the linear operators made from them depend on no game and are kept for the next call.
"""

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property, lru_cache
from itertools import combinations
from math import comb, sqrt
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from baselines.coalitions import pack, stream

LISTED = 2**12
"""A size with at most this many pairs is listed and shuffled; a larger one is drawn from."""

LISTABLE = 2**21
"""A size with at most this many pairs can be listed once more than half of it is wanted."""

CACHE_BYTES = 2**28
"""Memory for samples and operators that are kept between calls."""

ROWS = 64
"""Random rows in a block of a stream."""

_SIZES, _SHUFFLE, _ROWS, _AGAIN, _REST = range(1, 6)  # purposes of a stream

T = TypeVar("T")

LAWS: dict[str, Callable[[int, int], float]] = {
    "leverage": lambda s, n: 1.0,  # every size alike: Musco and Witter (2025)
    "kernel": lambda s, n: 1.0 / (s * (n - s)),  # the Shapley kernel's mass of a size
    "root": lambda s, n: 1.0 / sqrt(s * (n - s)),  # their geometric mean
}
"""Mass of a coalition size `s` of `n` players, by name of the sampling law."""

Law = str | tuple[float, ...]
"""Name of a law in `LAWS`, or the mass of the sizes 1 to n // 2, complements included."""


@dataclasses.dataclass(frozen=True)
class PairSample:
    """Complementary pairs of coalitions, each pair at most once.

    Args:
        members: Bool `(p, n)`, the smaller coalition of each pair.
        sizes: Int64 `(p,)`, its size, 1 to n // 2.
        drawn: Float64 `(p,)`, how many pairs of this size the sample holds.
        pools: Float64 `(p,)`, how many there are.
        name: What the sample was drawn from: players, pairs, key and law.
    """

    members: Tensor
    sizes: Tensor
    drawn: Tensor
    pools: Tensor
    name: tuple[int, int, int, Law]

    def __len__(self) -> int:
        return len(self.members)

    @property
    def n_players(self) -> int:
        """Number of players `n`."""
        return self.members.shape[1]

    @cached_property
    def coalitions(self) -> Tensor:
        """Bool `(2 + 2 p, n)`: empty, grand, then each member followed by its complement."""
        return interleave(self.members)

    @cached_property
    def signs(self) -> Tensor:
        """Float64 `(p, n)`: 1 for a member, -1 for a stranger."""
        return self.members.double() * 2 - 1

    @property
    def kernel(self) -> Tensor:
        """Float64 `(p,)`: Shapley kernel weight of each pair over its chance to be drawn."""
        n, s = self.n_players, self.sizes.double()
        half = torch.where(self.sizes * 2 == n, 0.5, 1.0)  # a middle size is its own complement
        return half / (s * (n - s) * self.drawn)

    @property
    def unseen(self) -> Tensor:
        """Float64 `(p,)`: share of the pairs of this size that the sample left out."""
        return 1 - self.drawn / self.pools


def sample_pairs(n_players: int, n_pairs: int, key: int, law: Law = "leverage") -> PairSample:
    """Pairs without replacement, sizes in proportion to a law, extreme sizes used up first.

    Args:
        n_players: Number of players `n >= 2`.
        n_pairs: Number of pairs `p`, fewer than there are.
        key: Stream key.
        law: How often each size is drawn.

    Returns:
        A sample whose first rows are the sample of a smaller `n_pairs`.
    """
    return CACHE.get(
        ("pairs", n_players, n_pairs, key, law), lambda: _sample(n_players, n_pairs, key, law)
    )


def _sample(n: int, n_pairs: int, key: int, law: Law) -> PairSample:
    pools = [comb(n, s) // (2 if 2 * s == n else 1) for s in range(1, n // 2 + 1)]
    sizes = _size_sequence(n, n_pairs, key, law, pools)
    members = np.zeros((n_pairs, n), dtype=bool)
    drawn = [sizes == s for s in range(1, n // 2 + 1)]
    large = [s for s in range(1, n // 2 + 1) if pools[s - 1] > LISTED and drawn[s - 1].any()]
    if large:
        members = _draw(n, sizes, key)
    for s, where in enumerate(drawn, 1):
        count, pool = int(where.sum()), pools[s - 1]
        if count == 0:
            continue
        if pool <= LISTED:
            members[where] = _listed(n, s)[stream(key, s, _SHUFFLE).permutation(pool)[:count]]
        else:
            members[where] = _distinct(members[where], np.flatnonzero(where), s, pool, key)
    counts = np.array([where.sum() for where in drawn], dtype=np.float64)
    return PairSample(
        torch.from_numpy(members),
        torch.from_numpy(sizes),
        torch.from_numpy(counts[sizes - 1]),
        torch.tensor([float(pool) for pool in pools], dtype=torch.float64)[sizes - 1],
        (n, n_pairs, key, law),
    )


def _size_sequence(n: int, n_pairs: int, key: int, law: Law, pools: list[int]) -> np.ndarray:
    """The size of each pair: a divisor rule with random starts, hence the same for every length.

    Pair number j of size s comes at time (j + start) / mass, so that at any time each size has
    been drawn in proportion to its mass, up to one pair and its pool.
    """
    if n_pairs == 0:
        return np.zeros(0, dtype=np.int64)
    mass = np.array(
        [LAWS[law](s, n) * (1.0 if 2 * s == n else 2.0) for s in range(1, n // 2 + 1)]
        if isinstance(law, str)
        else law
    )
    start = stream(key, 0, _SIZES).random(len(mass))
    limits = np.array([float(min(pool, n_pairs)) for pool in pools])

    def counts(time: float) -> np.ndarray:
        return np.clip(np.ceil(time * mass - start), 0, limits)

    low, high = 0.0, 1.0
    while counts(high).sum() < n_pairs:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if counts(middle).sum() < n_pairs else (low, middle)
    numbers = counts(high).astype(np.int64)
    sizes = np.repeat(np.arange(1, len(mass) + 1), numbers)
    ranks = np.concatenate([np.arange(number) for number in numbers])
    times = (ranks + start[sizes - 1]) / mass[sizes - 1]
    return sizes[np.lexsort((sizes, times))][:n_pairs]


def _draw(n: int, sizes: np.ndarray, key: int) -> np.ndarray:
    """A uniform coalition of each size."""
    blocks = [
        stream(key, block, _ROWS).random((ROWS, n)) for block in range(-(-len(sizes) // ROWS))
    ]
    draws = np.concatenate(blocks)[: len(sizes)]
    limit = np.take_along_axis(np.sort(draws, 1), sizes[:, None] - 1, 1)
    return _canonical(draws <= limit)


def _canonical(members: np.ndarray) -> np.ndarray:
    """Of two complementary coalitions of n / 2 players, the one that holds the last player."""
    n = members.shape[1]
    flip = (members.sum(1) * 2 == n) & ~members[:, -1]
    return members ^ flip[:, None]


def _distinct(members: np.ndarray, rows: np.ndarray, s: int, pool: int, key: int) -> np.ndarray:
    """Replace repeated coalitions of one size, each by what its own row draws next."""
    packed = np.packbits(members, axis=1)
    if len(members) <= pool // 2 and len(np.unique(packed, axis=0)) == len(members):
        return members
    members, n = members.copy(), members.shape[1]
    seen: set[bytes] = set()
    half = pool // 2 if pool <= LISTABLE else pool
    for i, row in enumerate(rows[:half]):
        code = packed[i].tobytes()
        source = stream(key, int(row), _AGAIN) if code in seen else None
        while source is not None and code in seen:
            draws = source.random((1, n))
            members[i] = _canonical(draws <= np.sort(draws, 1)[:, s - 1 : s])[0]
            code = np.packbits(members[i]).tobytes()
        seen.add(code)
    if len(rows) > half:  # drawing blindly would take ever longer: list and shuffle the rest
        whole = _listed(n, s)
        codes = np.packbits(whole, axis=1)
        rest = whole[[code.tobytes() not in seen for code in codes]]
        order = stream(key, s, _REST).permutation(len(rest))
        members[half:] = rest[order[: len(rows) - half]]
    return members


@lru_cache(maxsize=64)
def _listed(n: int, s: int) -> np.ndarray:
    """All pairs of a size by their smaller member, bool `(pool, n)`."""
    if 2 * s == n:
        inner = _listed_sets(n - 1, s - 1)
        return np.concatenate([inner, np.ones((len(inner), 1), dtype=bool)], 1)
    return _listed_sets(n, s)


def _listed_sets(n: int, s: int) -> np.ndarray:
    sets = np.array(list(combinations(range(n), s)), dtype=np.int64).reshape(-1, s)
    members = np.zeros((len(sets), n), dtype=bool)
    np.put_along_axis(members, sets, True, 1)
    return members


def interleave(members: Tensor) -> Tensor:
    """Coalitions `(2 + 2 p, n)`: empty, grand, then each of `(p, n)` followed by its complement."""
    n = members.shape[1]
    ends = torch.tensor([[False], [True]]).expand(2, n)
    return torch.cat([ends, torch.stack([members, ~members], 1).reshape(-1, n)])


def first_seen(members: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Complementary pairs without their repeats.

    Args:
        members: Bool `(p, n)`, one coalition of each pair.

    Returns:
        Bool `(q, n)`, each pair once in order of appearance; int64 `(p,)`, where each row's pair
        is; int64 `(p,)`, 1 where it is there as the complement.
    """
    seen: dict[bytes, int] = {}
    rows, place, flipped = [], [], []
    codes = zip(pack(members), pack(~members), strict=True)
    for row, (code, mirror) in enumerate(codes):
        turned = mirror.tobytes() in seen
        name = mirror.tobytes() if turned else code.tobytes()
        if name not in seen:
            seen[name] = len(rows)
            rows.append(row)
        place.append(seen[name])
        flipped.append(int(turned))
    return members[rows], torch.tensor(place).long(), torch.tensor(flipped).long()


class OperatorCache:
    """Least recently used samples and operators, within a memory budget.

    Args:
        max_bytes: Memory of the tensors kept.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self.max_bytes = max_bytes
        self._held: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, name: Hashable, make: Callable[[], T]) -> T:
        """What is kept under a name, made now if nothing is."""
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
                return self._held[name][0]  # pyright: ignore[reportReturnType] - a name has one maker
        made = make()
        size = _bytes(made)
        with self._lock:
            if size <= self.max_bytes and name not in self._held:
                self._held[name] = (made, size)
                self._bytes += size
                while self._bytes > self.max_bytes:
                    self._bytes -= self._held.popitem(last=False)[1][1]
        return made

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()
            self._bytes = 0


def _bytes(thing: object) -> int:
    if isinstance(thing, Tensor):
        return thing.numel() * thing.element_size()
    if isinstance(thing, PairSample):
        return 11 * thing.members.numel()  # as bools, in pairs and as float64 signs
    if dataclasses.is_dataclass(thing):
        return sum(_bytes(getattr(thing, field.name)) for field in dataclasses.fields(thing))
    if isinstance(thing, tuple | list):
        return sum(_bytes(part) for part in thing)
    return 0


CACHE = OperatorCache()
"""The cache that all estimators share."""
