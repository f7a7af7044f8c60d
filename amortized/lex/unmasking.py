"""Sequential unmasking: a selection that cannot leak, since it is chosen from what it shows.

A policy starts from nothing and asks for one player after another, seeing only what is revealed so
far. Two rows that agree on what was revealed get the same selection, so *which* players are shown
tells nothing that their values do not.
"""

from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from einops import repeat
from torch import Tensor, nn

from amortized.lex.inputs import as_labels, as_rows, plain
from amortized.lex.predictor import MLPPredictor
from baselines import Explanation, training
from baselines.coalitions import stream
from baselines.folders import read_folder, reading, write_folder
from baselines.randomness import seed_of, seeded
from baselines.saved_models import check_numbers
from baselines.torch_calls import from_array

FORMAT = "harsanyi-unmasking/1"
HIDDEN = -1e9
"""Logit of a player that is revealed already."""

ENTROPY = 0.01
"""Nats of entropy paid for at the start, so that early luck does not decide."""


class SequentialUnmasking(nn.Module):
    """A classifier that reveals `k` players, each chosen from the values revealed before it.

    Args:
        n_features: Features of a row.
        n_classes: Number of classes.
        k: Players to reveal.
        width: Units of each hidden layer.
        depth: Hidden layers.
        groups: Player of each feature, -1 where it is never shown; None makes each a player.
        classes: Class labels in the order of the outputs.
        random_state: Seed of the initial weights.

    Raises:
        ValueError: If a size is not positive, or `k` exceeds the number of players.

    Source: after Oosterhuis, Lyu and Anand (2024), sequential unmasking without reversion; trained
        by the score function with a leave-one-out baseline.

    Example:
        >>> import numpy as np
        >>> from amortized import SequentialUnmasking
        >>> X = np.random.default_rng(0).normal(size=(100, 4))
        >>> model = SequentialUnmasking(4, 2, k=2, width=8).fit(X, (X[:, 0] > 0).astype(int), epochs=1)
        >>> model.explain(X[:3]).values.sum(1).flatten().tolist()  # two features each
        [2.0, 2.0, 2.0]
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        k: int,
        *,
        width: int = 100,
        depth: int = 2,
        groups: Tensor | None = None,
        classes: list[Any] | None = None,
        random_state: int | None = 0,
    ) -> None:
        super().__init__()
        players = torch.arange(n_features) if groups is None else groups.reshape(-1)
        if len(players) != n_features:
            raise ValueError(f"groups name {len(players)} features; there are {n_features}.")
        self.n_players = int(players.max()) + 1
        if not 1 <= k <= self.n_players:
            raise ValueError(f"k={k} is not between 1 and the {self.n_players} players.")
        self.k = k
        self.classes = classes
        self.settings = {
            "n_features": n_features,
            "n_classes": n_classes,
            "k": k,
            "width": width,
            "depth": depth,
        }
        with seeded(seed_of(random_state)):
            self.policy = MLPPredictor(n_features, self.n_players, width, depth, True)
            self.predictor = MLPPredictor(n_features, n_classes, width, depth, True)
        with torch.no_grad():
            self.policy.head.weight.mul_(0.1)
        self.register_buffer("players", players)
        self.players: Tensor

    def features(self, masks: Tensor) -> Tensor:
        """Masks of players `(..., n)` as masks of features."""
        return nn.functional.pad(masks, (0, 1))[..., self.players]

    def _rows(self, x: Any, name: str) -> Tensor:  # noqa: ANN401 - an array, a frame or a tensor
        return as_rows(x, name, self.policy.head.weight, self.policy.standardise.mean.shape)

    def next_logits(self, x: Tensor, revealed: Tensor) -> Tensor:
        """Logits `(rows, n)` of the next player, from rows and bool masks `(rows, n)`."""
        logits = self.policy(x, self.features(revealed))
        return logits.masked_fill(revealed, HIDDEN)

    def fit(
        self,
        X: Any,  # noqa: ANN401 - an array, a data frame or a tensor
        y: Any,  # noqa: ANN401 - classes
        *,
        epochs: int | None = None,
        predictor_epochs: int = 60,
        batch_size: int = 400,
        draws: int = 4,
        random_state: int = 0,
        progress: bool = False,
        checkpoint_dir: str | PathLike[str] | None = None,
    ) -> Self:
        """Train the predictor on random reveals, then the policy by what its reveals predict.

        Args:
            X: Rows `(b, n_features)`, finite.
            y: Classes `(b,)`.
            epochs: Passes for the policy; None takes 30, and more where these are fewer than 700
                steps.
            predictor_epochs: Most passes for the predictor before.
            batch_size: Rows of one step.
            draws: Orders drawn for each row, 2 or more: each is the others' baseline.
            random_state: Seed of order and draws.
            progress: Show bars.
            checkpoint_dir: Folder from which a killed training goes on.

        Returns:
            The model itself, in eval mode.

        Raises:
            ValueError: If there are no rows, one class, or a number is not finite.
        """
        rows = self._rows(X, "X")
        if len(rows) == 0 or draws < 2:
            raise ValueError(f"X has {len(rows)} rows, draws={draws}; pass rows, and 2 draws.")
        given = getattr(y, "to_numpy", lambda: y)()
        if self.classes is None:
            self.classes = sorted({plain(label) for label in given})
        if len(self.classes) != self.settings["n_classes"]:
            raise ValueError(f"y holds {self.classes}; n_classes={self.settings['n_classes']}.")
        target = as_labels(y, self.classes, rows)
        order = from_array(stream(random_state, 0).permutation(len(rows)))
        rows, target = rows[order], target[order]
        held = max(1, len(rows) // 10) if len(rows) >= 10 else 0
        for net in (self.policy, self.predictor):
            net.standardise.learn(rows[held:])
        folder = None if checkpoint_dir is None else Path(checkpoint_dir)
        check = (rows[:held], target[:held]) if held else (rows, target)
        training.fit(
            self.predictor,
            (rows[held:], target[held:]),
            lambda module, batch, noise: self._guess(batch, noise),
            epochs=predictor_epochs,
            batch_size=batch_size,
            validate=lambda module: float(self._guess(check, torch.Generator().manual_seed(0))),
            patience=8,
            optimizer=training.AdamW(lr=2e-3, weight_decay=0.05),
            schedule=training.WarmupCosine(floor=0.05),
            key=random_state + 1,
            checkpoint_dir=None if folder is None else folder / "predictor",
            progress=progress,
            description="predictor",
        )
        per_epoch = -(-(len(rows) - held) // batch_size)
        epochs = max(30, -(-700 // per_epoch)) if epochs is None else epochs
        stage = _Revealing(self, epochs * per_epoch, draws)
        training.fit(
            stage,
            (rows[held:], target[held:]),
            lambda module, batch, noise: stage.loss(batch, noise),
            epochs=epochs,
            batch_size=batch_size,
            optimizer=lambda module: torch.optim.AdamW(
                [
                    {"params": self.policy.parameters(), "lr": 2e-3},
                    {"params": self.predictor.parameters(), "lr": 4e-4},
                ],
                weight_decay=1e-4,
            ),
            schedule=lambda passed: min(1.0, (1 - passed) / 0.3),
            key=random_state + 2,
            checkpoint_dir=None if folder is None else folder / "policy",
            progress=progress,
            description="policy",
        )
        return self.eval()

    def _guess(self, batch: tuple[Tensor, Tensor], noise: torch.Generator) -> Tensor:
        """Cross-entropy with a random number of random players revealed."""
        x, target = batch
        size = torch.randint(self.n_players + 1, (len(x), 1), generator=noise)
        rank = torch.rand(len(x), self.n_players, generator=noise).argsort(-1).argsort(-1)
        shown = (rank < size).to(x.device)
        return nn.functional.cross_entropy(self.predictor(x, self.features(shown)), target)

    @torch.no_grad()
    def order(self, x: Tensor) -> Tensor:
        """Players in the order in which they are revealed, `(b, n)`, to the last one."""
        revealed = torch.zeros(len(x), self.n_players, dtype=torch.bool, device=x.device)
        taken: list[Tensor] = []
        for _ in range(self.n_players):
            choice = self.next_logits(x, revealed).argmax(-1, keepdim=True)
            revealed = revealed.scatter(-1, choice, True)
            taken.append(choice)
        return torch.cat(taken, -1)

    def explain(self, x: Any) -> Explanation:  # noqa: ANN401 - an array, a frame or a tensor
        """Which players are revealed.

        Args:
            x: Explicands `(b, n_features)`, finite.

        Returns:
            Values `(b, n, 1)`, 1 for the first `k` revealed and 0 else, of estimand `"selection"`;
            diagnostics `logits` `(b, n, 1)`, minus the step at which a player is revealed.

        Raises:
            ValueError: If `x` is not finite.
        """
        rows = self._rows(x, "x")
        steps = self.order(rows).argsort(-1)
        return Explanation(
            (steps < self.k).to(rows.dtype)[..., None],
            estimand="selection",
            game=f"p(y | selection), {self.k} players revealed one by one",
            method="sequential unmasking",
            n_evals=self.n_players,
            outputs=["selected"],
            diagnostics={
                "logits": -steps[..., None].to(rows.dtype),
                "mode": (steps < self.k)[..., None],
            },
        )

    @torch.no_grad()
    def predict_proba(self, x: Any) -> Tensor:  # noqa: ANN401 - an array, a frame or a tensor
        """Class probabilities `(b, c)` from the first `k` players revealed."""
        rows = self._rows(x, "x")
        shown = self.order(rows).argsort(-1) < self.k
        return torch.softmax(self.predictor(rows, self.features(shown)), -1)

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write config.json and model.safetensors into a folder, made if missing."""
        config = {"format": FORMAT, "settings": self.settings, "classes": self.classes}
        write_folder(folder, config, self.state_dict())

    @classmethod
    def from_pretrained(cls, folder: str | PathLike[str]) -> Self:
        """Read a model that `save_pretrained` wrote.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is truncated, corrupt, or of another version.
        """
        with reading(folder, "unmasking model") as path:
            config, tensors = read_folder(path, FORMAT)
            check_numbers(tensors, path)
            model = cls(**config["settings"], groups=tensors["players"], classes=config["classes"])
            model.load_state_dict(tensors)
        return model.eval()


class _Revealing(nn.Module):
    """What the policy's training moves, and the step at which it stands."""

    def __init__(self, model: SequentialUnmasking, total_steps: int, draws: int) -> None:
        super().__init__()
        self.model, self.total_steps, self.draws = model, total_steps, draws
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.step: Tensor

    def loss(self, batch: tuple[Tensor, Tensor], noise: torch.Generator) -> Tensor:
        """Minus the mean log-likelihood over the steps of a draw, and its score function."""
        model, left = self.model, max(0.0, 1 - float(self.step) / (0.5 * self.total_steps))
        self.step.add_(1)
        x = repeat(batch[0], "b f -> (m b) f", m=self.draws)
        y = repeat(batch[1], "b -> (m b)", m=self.draws)
        revealed = torch.zeros(len(x), model.n_players, dtype=torch.bool, device=x.device)
        scores: list[Tensor] = []
        rewards: list[Tensor] = []
        entropy = torch.zeros((), device=x.device)
        for _ in range(model.k):
            log_p = torch.log_softmax(model.next_logits(x, revealed), -1)
            gumbel = -torch.log(-torch.log(_open(log_p.shape, noise).to(log_p)))
            choice = (log_p + gumbel).argmax(-1, keepdim=True)
            revealed = revealed.scatter(-1, choice, True)
            scores.append(log_p.gather(-1, choice)[:, 0])
            entropy = entropy - (log_p.exp() * log_p.clamp(min=-50)).sum(-1).mean()
            answers = torch.log_softmax(model.predictor(x, model.features(revealed)), -1)
            rewards.append(answers.gather(-1, y[:, None])[:, 0])
        reward = torch.stack(rewards)  # (k, (m b))
        to_go = reward.detach().flip(0).cumsum(0).flip(0).reshape(model.k, self.draws, -1)
        others = (to_go.sum(1, keepdim=True) - to_go) / (self.draws - 1)
        advantage = (to_go - others).reshape(model.k, -1)
        surrogate = (advantage * torch.stack(scores)).sum(0) + reward.mean(0)
        return -surrogate.mean() - ENTROPY * left * entropy


def _open(shape: tuple[int, ...], noise: torch.Generator) -> Tensor:
    """Uniform numbers of the open interval (0, 1)."""
    return torch.rand(shape, generator=noise).clamp(1e-7, 1 - float(np.finfo(np.float32).eps))
