"""Explainers of text classifiers that look inside: gradients and attention, by the game's players.

They give one number per token; the players' numbers are sums over their tokens, which is how such
scores are usually read by words, and no value of a game of words.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from baselines.attention import AttentionRollout
from baselines.explanation import Explanation
from baselines.text import TextModel
from baselines.text_players import EncodedText
from bench.problems.problem import Problem


class EmbeddingGradients:
    """Integrated gradients of the logits along the line from mask tokens to the text.

    Args:
        model: A TextModel whose network takes `inputs_embeds`.
        steps: Points on the line, midpoints of equal parts.

    Raises:
        ValueError: If there is no step, or no token for the start of the line.

    Source: Sundararajan, Taly and Yan (2017), eq. 3.
    """

    def __init__(self, model: TextModel, steps: int = 20) -> None:
        if steps < 1:
            raise ValueError(f"steps={steps}; pass 1 or more.")
        tokenizer = model.tokenizer
        start = tokenizer.mask_token_id
        start = tokenizer.pad_token_id if start is None else start
        if start is None:
            raise ValueError("the tokenizer has neither a mask nor a padding token to start from.")
        self.model, self.steps, self.start = model, steps, int(start)

    def explain(self, x: Any) -> Explanation:  # noqa: ANN401 - texts
        """Gradients of each text, summed over the tokens of each player.

        Args:
            x: Texts.

        Returns:
            Values `(b, n, k)`, estimand "gradient", ragged.
        """
        game = self.model(x)
        values = [self._one(text) for text in game.encoded]
        return _explanation(
            self.model,
            game.player_mask,
            [by_player(text, value) for text, value in zip(game.encoded, values, strict=True)],
            players=game.players,
            estimand="gradient",
            method=f"integrated gradients, {self.steps} steps",
            n_evals=2 * self.steps,
        )

    def _one(self, text: EncodedText) -> Tensor:
        """Token values `(length, k)`."""
        network: Any = self.model.network
        embed = network.get_input_embeddings()
        others = {name: part for name, part in text.inputs.items() if name != "input_ids"}
        start = torch.where(text.owners >= 0, self.start, text.ids)
        end, begin = embed(text.ids).detach(), embed(start).detach()
        at = (torch.arange(self.steps, dtype=end.dtype) + 0.5) / self.steps
        line = (begin + at[:, None, None] * (end - begin)).requires_grad_()
        rows = {name: part.expand(self.steps, -1) for name, part in others.items()}
        ones = torch.ones(line.shape[:2], dtype=torch.int64)
        with torch.enable_grad():
            logits = network(inputs_embeds=line, attention_mask=ones, **rows).logits
            slopes = [
                torch.autograd.grad(logits[:, k].sum(), line, retain_graph=True)[0].mean(0)
                for k in range(logits.shape[1])
            ]
        return torch.stack([(slope * (end - begin)).sum(-1) for slope in slopes], -1)


class WordRollout:
    """Attention rollout by players.

    Args:
        model: A TextModel.
    """

    def __init__(self, model: TextModel) -> None:
        self.model = model
        self.rollout = AttentionRollout(model.network)

    def explain(self, x: Any) -> Explanation:  # noqa: ANN401 - texts
        """Share of each player's tokens in what the read-out token has gathered.

        Args:
            x: Texts.

        Returns:
            Values `(b, n, 1)`, estimand "attention", ragged.
        """
        game = self.model(x)
        found = []
        for text in game.encoded:
            encoding = {name: part[None] for name, part in text.inputs.items()}
            flow = self.rollout.explain(
                encoding | {"attention_mask": torch.ones_like(text.ids)[None]}
            )
            found.append(by_player(text, flow.values[0]))
        return _explanation(
            self.model,
            game.player_mask,
            found,
            players=game.players,
            estimand="attention",
            method="attention rollout",
            n_evals=1,
        )


def by_player(text: EncodedText, values: Tensor) -> Tensor:
    """Sums `(n, k)` over each player's tokens of values `(length, k)`.

    Args:
        text: Whose tokens.
        values: One row per token, special ones included.
    """
    total = values.new_zeros(len(text.players) + 1, values.shape[1])
    return total.index_add(0, text.owners + 1, values)[1:]


def embedding_gradients(problem: Problem) -> EmbeddingGradients:
    """The contender `integrated-gradients` of text problems."""
    return EmbeddingGradients(_text_model(problem))


def word_rollout(problem: Problem) -> WordRollout:
    """The contender `attention-rollout` of text problems."""
    return WordRollout(_text_model(problem))


def _text_model(problem: Problem) -> TextModel:
    if not isinstance(problem.model, TextModel):
        raise TypeError(f"problem {problem.name!r} has no text model to look inside.")
    return problem.model


def _explanation(
    model: TextModel,
    mask: Tensor,
    rows: list[Tensor],
    *,
    players: Sequence[tuple[str, ...]],
    estimand: str,
    method: str,
    n_evals: int,
) -> Explanation:
    return Explanation(
        torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        estimand=estimand,
        game=model.description,
        method=method,
        n_evals=n_evals,
        players=list(players),
        outputs=model.outputs if rows[0].shape[1] == len(model.outputs) else None,
        player_mask=mask,
    )
