"""A prediction and a few fresh evaluations: fused by precision, or unbiased with its help.

Running sums that start from the prediction (the "local adaption" of Yang et al., 2023) weigh it as
one permutation whatever it is worth. Here both sides say how wrong they may be.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from amortized.examples import as_examples
from amortized.explaining import game_of, narrowed
from amortized.objectives import (
    control_variate_labels,
    harmonic_number,
    kernel_coalitions,
    normalise,
)
from amortized.pairs import pair_sums
from baselines.explanation import Explanation
from baselines.fingerprints import key_of
from baselines.game import Game

if TYPE_CHECKING:
    from amortized.explainer import AmortizedExplainer


def refine_explanation(
    explainer: "AmortizedExplainer",
    x: Any,  # noqa: ANN401
    said: Explanation,
    pairs: int,
    *,
    unbiased: bool = False,
    seed: int = 0,
) -> Explanation:
    """A prediction improved by fresh evaluations of the model.

    Args:
        explainer: Whose prediction it is.
        x: The examples.
        said: The prediction, values `(b, n, k)`.
        pairs: Fresh antithetic pairs of orders for each example, or their price in coalitions.
        unbiased: Use the prediction as a control variate only.
        seed: Seed of the fresh draws; they depend on the example alone.

    Returns:
        Values `(b, n, k)` that sum to v(all) - v(none), with standard errors.

    Raises:
        ValueError: If there are no pairs, no model, or the explainer imitates something else than
            Shapley values.
    """
    if pairs < 1:
        raise ValueError(f"refine={pairs}; it takes at least one pair.")
    if explainer.config.estimand != "shapley":
        raise ValueError(
            f"this explainer imitates a teacher of estimand {explainer.config.estimand!r}; fresh "
            "pairs of orders estimate Shapley values."
        )
    examples = as_examples(x)
    game = game_of(explainer, examples)
    keys = [key_of(seed, "refine", one) for one in examples]
    if unbiased:
        return _steadied(explainer, game, said, keys, pairs)
    drawn = pair_sums(game, keys, [0] * len(keys), [pairs] * len(keys))
    return fuse(explainer, said, drawn)


def fuse(
    explainer: "AmortizedExplainer", said: Explanation, drawn: dict[str, Tensor]
) -> Explanation:
    """A prediction and fresh pairs, each weighed by its precision.

    The weight is one number for an output and a number of pairs, from errors measured on held-out
    labels, so that two efficient sides stay efficient.

    Args:
        explainer: Whose measures say how wrong it is.
        said: Its prediction.
        drawn: From `pairs.pair_sums`.

    Returns:
        The fused explanation.
    """
    device, dtype = said.values.device, said.values.dtype
    mask = drawn["player_mask"].to(device)
    ends = narrowed(explainer, torch.stack([drawn["empty"], drawn["grand"]], 1)).to(device, dtype)
    direct = _of_outputs(explainer, drawn, drawn["sums"] / drawn["pairs"][:, None, None])
    pairs, exact = drawn["pairs"].double()[:, None], drawn["exact"][:, None]
    noise = torch.where(exact, 0.0, _pair_variance(explainer).double() / pairs)
    # Not each example's own error and spread: both are large where the game is rough, and a few
    # pairs that happen to agree would be believed exactly where they are worst.
    known_error = _held_out_error(explainer)
    # without any known spread the evaluations are all there is to go by
    weight = torch.where(
        noise.isnan(), 1.0, known_error / (known_error + noise.nan_to_num(0.0)).clamp(min=1e-30)
    )
    weight = torch.where(exact, 1.0, weight)
    whole = ends[:, 1] - ends[:, 0]
    guess = normalise(said.values, whole, mask)  # the true total is known now
    share = weight[:, None].to(device, dtype)
    values = share * direct.to(device, dtype) + (1 - share) * guess
    rough = _prior_variance(explainer, said, mask).double().cpu() / known_error.clamp(min=1e-30)
    error = (weight * noise.nan_to_num(0.0) * rough).sqrt()[:, None].expand_as(direct)
    known = not bool(noise.isnan().any())
    real = mask[..., None]
    return dataclasses.replace(
        said,
        values=torch.where(real, values, 0.0),
        base_values=ends[:, 0],
        std_errors=torch.where(real, error.to(device, dtype), 0.0) if known else None,
        n_evals=int(drawn["coalitions"].max()),
        method=f"{said.method} + {int(pairs.max())} pairs by precision",
        diagnostics={
            "sampler_weight": weight.to(device, dtype),
            "additivity_gap": (torch.where(real, values, 0.0).sum(1) - whole),
        },
    )


def _of_outputs(
    explainer: "AmortizedExplainer", drawn: dict[str, Tensor], values: Tensor
) -> Tensor:
    """Values `(b, n, k)` of the outputs that the explainer has."""
    if explainer.config.classes == "all":
        return values
    chosen = drawn["grand"].argmax(-1)
    return values.gather(2, chosen[:, None, None].expand(-1, values.shape[1], 1))


def _pair_variance(explainer: "AmortizedExplainer") -> Tensor:
    told = (explainer.config.measures or {}).get("pair_variance")
    return torch.full((explainer.n_outputs,), torch.nan) if told is None else torch.tensor(told)


def _held_out_error(explainer: "AmortizedExplainer") -> Tensor:
    """Squared error of predictions with known totals on held-out labels, `(k,)`."""
    measures = explainer.config.measures or {}
    if "mse_known_ends" not in measures:
        raise ValueError("this explainer was never trained, so its error is unknown; call fit.")
    return torch.tensor(measures["mse_known_ends"], dtype=torch.float64)


def _prior_variance(explainer: "AmortizedExplainer", said: Explanation, mask: Tensor) -> Tensor:
    """Squared error that the prediction is expected to have, `(b, k)`, mean over players."""
    known = _held_out_error(explainer).to(said.values)
    if said.std_errors is None:
        return known.expand(len(said), -1)
    real = mask[..., None].to(said.values)
    own = (said.std_errors.square() * real).sum(1) / real.sum(1).clamp(min=1)
    # the predicted error is of values whose total was predicted, too
    return own * known / said.values.new_tensor((explainer.config.measures or {})["mse"])


def _steadied(
    explainer: "AmortizedExplainer", game: Game, said: Explanation, keys: list[int], pairs: int
) -> Explanation:
    """Unbiased values from complementary coalitions, with the prediction as control variate."""
    mask = getattr(game, "player_mask", None)
    mask = (
        torch.ones(game.n_explicands, game.n_players, dtype=torch.bool) if mask is None else mask
    )
    mask = mask.cpu()
    counts = mask.sum(1)
    sizes = [2 * max(1, int(count) - 1) * pairs for count in counts]
    asked = mask[:, None].repeat(1, max(sizes) + 2, 1)
    asked[:, 0] = False
    for row, key in enumerate(keys):
        generator = torch.Generator().manual_seed(key)
        asked[row, 2 : 2 + sizes[row]] = kernel_coalitions(
            mask[row : row + 1], sizes[row], generator
        )[0]
    values = game(asked).detach()
    if explainer.config.classes == "predicted":
        chosen = values[:, 1].argmax(-1)[:, None, None].expand(-1, values.shape[1], 1)
        values = values.gather(2, chosen)
    device, dtype = said.values.device, said.values.dtype
    values = values.to(device, dtype)
    real = mask.to(device)
    whole = values[:, 1] - values[:, 0]
    around = normalise(said.values, whole, real)
    labels = control_variate_labels(
        around, asked[:, 2:].to(device), values[:, 2:] - values[:, :1], real,
        harmonic_number(counts).to(around),
    )  # fmt: skip
    labels = torch.unflatten(labels, 1, (-1, 2)).mean(2)  # complementary pairs are the units
    number = torch.tensor(sizes, device=device) // 2
    used = (torch.arange(labels.shape[1], device=device) < number[:, None])[..., None, None]
    count = number[:, None, None]
    mean = torch.where(used, labels, 0.0).sum(1) / count
    squares = torch.where(used, (labels - mean[:, None]).square(), 0.0).sum(1)
    several = bool((number > 1).all())
    errors = (squares / (count - 1).clamp(min=1) / count).sqrt() if several else None
    single = (real.sum(1) == 1)[:, None, None]
    mean = torch.where(single, whole[:, None] * real[..., None], mean)
    return dataclasses.replace(
        said,
        values=mean,
        base_values=values[:, 0],
        std_errors=errors,
        n_evals=max(sizes) + 2,
        method=f"unbiased, around {said.method}",
        diagnostics={"additivity_gap": mean.sum(1) - whole},
    )


def worth_evaluations(mse: float, pair_variance: float, n_players: float) -> float:
    """Coalitions that antithetic pairs would need for the same squared error.

    Args:
        mse: Squared error of an explainer, noise of the truth taken off.
        pair_variance: Variance of one antithetic pair of the same games.
        n_players: Players, or their mean.

    Returns:
        Coalitions per example, both ends included; infinite where the error is not above zero.
        Below one pair, `2 n` coalitions, it is an extrapolation that no sampler offers.

    Example:
        >>> from amortized import worth_evaluations
        >>> worth_evaluations(mse=0.01, pair_variance=0.05, n_players=11)  # five pairs of orders
        102.0
    """
    if mse <= 0:
        return float("inf")
    return 2 + 2 * max(0.0, n_players - 1) * pair_variance / mse
