"""Labels through Ray Data (extra `ray`, experimental): the same shards, handed out by an actor pool.

For clusters that come and go, or more shards than a launcher hands out well. Nothing is collected:
every actor writes its shards where any other worker would, and `LabelStore.check` judges them.
"""

from collections.abc import Callable
from typing import Any

from amortized.labels import LabelStore
from amortized.playing import GameFactory
from baselines import shards


def run_labels(
    path: str,
    make_model: Callable[[], GameFactory],
    *,
    workers: int = 2,
    cpus_per_worker: float = 0.5,
    gpus_per_worker: float = 0.0,
) -> int:
    """Make what a planned store lacks, in a pool of Ray actors.

    Args:
        path: The store's folder, which every worker can reach.
        make_model: Loads the model; called once by every actor.
        workers: Actors.
        cpus_per_worker: Share of a core that an actor asks for; below one, since Ray's own readers
            and writers need slots, too.
        gpus_per_worker: Accelerators that an actor asks for.

    Returns:
        Number of shards that were missing and are there now.

    Raises:
        ImportError: If ray is not installed.
    """
    try:
        import ray.data
    except ImportError as error:
        raise ImportError(
            "run_labels needs Ray Data; install it with pip install 'harsanyi[ray]'."
        ) from error
    todo = _missing(path)
    if not todo:
        return 0
    done = ray.data.from_items(todo, override_num_blocks=len(todo)).map(
        ShardWorker,
        fn_constructor_args=(path, make_model),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=cpus_per_worker,
        num_gpus=gpus_per_worker,
    )
    for _ in done.iter_rows():  # count() would not run a map: it changes no number of rows
        pass
    return len(todo) - len(_missing(path))


def _missing(path: str) -> list[dict[str, int]]:
    return [
        {"number": number, "shard": shard}
        for number, one in enumerate(LabelStore(path).passes())
        for shard in shards.pending(one.plan)
    ]


class ShardWorker:
    """One actor: loads the model once and does the shards that it is handed.

    Args:
        path: The store's folder.
        make_model: Loads the model.
    """

    def __init__(self, path: str, make_model: Callable[[], GameFactory]) -> None:
        self.store, self.model = LabelStore(path), make_model()
        self.passes = self.store.passes()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do one shard."""
        one = self.passes[int(row["number"])]
        shards.run_shard(one.plan, int(row["shard"]), self.store.work(one, self.model))
        return {"written": int(row["shard"])}
