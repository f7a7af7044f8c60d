"""One pass of an amortized explainer over examples, in batches of like length."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from amortized.examples import as_examples, pick
from baselines.arguments import whole
from baselines.explanation import Explanation
from baselines.game import Game

if TYPE_CHECKING:
    from amortized.explainer import AmortizedExplainer


def explain(
    explainer: "AmortizedExplainer",
    x: Any,  # noqa: ANN401
    batch_size: int = 64,
    precision: str = "full",
) -> Explanation:
    """What an explainer says of examples.

    Args:
        explainer: A trained explainer.
        x: What its encoder reads.
        batch_size: Examples of one pass.
        precision: "full" or "bf16", as `TextModel` takes it.

    Returns:
        Values `(b, n, k)`, with predicted standard errors where it has them. Of texts,
        `diagnostics["n_cut"]` `(b,)` counts the characters that the longest input leaves out.

    Raises:
        ValueError: If exact ends are wanted and no model is attached.
    """
    if whole(batch_size, "batch_size") < 1:
        raise ValueError(f"batch_size={batch_size}; it must be positive.")
    if precision not in ("full", "bf16"):
        raise ValueError(f"precision={precision!r} is unknown; use 'full' or 'bf16'.")
    config, encoder = explainer.config, explainer.encoder
    ends = exact_ends(explainer, x) if config.ends == "exact" else None
    read: Any = encoder.read(x)
    names = encoder.names(read)
    order = range(len(read))
    if names is not None and len(read) > batch_size:  # texts of like length share a pass
        order = sorted(order, key=lambda row: len(read[row].owners))
    found: list[tuple[list[int], Any]] = []
    with torch.inference_mode(), multiplied(explainer.scale.device, precision):
        for start in range(0, len(read), batch_size):
            rows = list(order[start : start + batch_size])
            inputs = encoder.pack(pick(read, rows))
            known = None if ends is None else ends[rows].to(explainer.scale)
            found.append((rows, explainer(**inputs, known_ends=known)))
    b, n = len(read), max(said.mask.shape[1] for _, said in found)
    first = found[0][1].attributions
    values = first.new_zeros((b, n, first.shape[-1]))
    errors = torch.zeros_like(values) if config.uncertainty else None
    bases = first.new_zeros((b, first.shape[-1]))
    mask = torch.zeros(b, n, dtype=torch.bool, device=first.device)
    factor = error_factor(explainer)
    for rows, said in found:
        width = said.mask.shape[1]
        values[rows, :width], mask[rows, :width] = said.attributions, said.mask
        bases[rows] = said.ends[:, 0]
        if errors is not None and said.log_scales is not None:
            errors[rows, :width] = said.log_scales.exp() * factor * said.mask[..., None]
    card, diagnostics = explainer.card, {}
    method = f"amortized ({(config.measures or {}).get('objective', 'not trained')})"
    if names is not None:
        diagnostics["n_cut"] = cut = torch.tensor([text.n_cut for text in read])
        if bool(cut.any()):
            method += f"; {int((cut > 0).sum())} of {b} texts cut at the longest input"
    fixed = None if card is None else card.players
    return Explanation(
        values.clone(),
        estimand=config.estimand,
        game="" if card is None else card.description,
        method=method,
        base_values=bases.clone() if ends is None else ends[:, 0].to(bases),
        std_errors=None if errors is None else errors.clone(),
        n_evals=0 if ends is None else 2,
        players=names if names is not None else fixed,
        outputs=config.outputs,
        player_mask=None if names is None else mask.clone(),
        data=x.detach().clone() if isinstance(x, Tensor) else None,
        diagnostics=diagnostics,
    )


def multiplied(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """How products are taken: as they come, or in bfloat16.

    Args:
        device: Of the explainer.
        precision: "full" or "bf16".
    """
    low = precision == "bf16"
    return torch.autocast(device.type, torch.bfloat16) if low else nullcontext()


def error_factor(explainer: "AmortizedExplainer") -> Tensor:
    """What predicted standard errors are multiplied by to be right on held-out labels, `(k,)`."""
    told = (explainer.config.measures or {}).get("error_factor")
    return torch.ones_like(explainer.scale) if told is None else explainer.scale.new_tensor(told)


def game_of(explainer: "AmortizedExplainer", x: Any) -> Game:  # noqa: ANN401
    """The games of some examples.

    Raises:
        ValueError: If no model is attached.
    """
    if explainer.model is None:
        raise ValueError(
            "the explained model is needed here and is not attached: "
            "explainer.attach(TextModel.from_pretrained(...))."
        )
    return explainer.model(as_examples(x))


def exact_ends(explainer: "AmortizedExplainer", x: Any) -> Tensor:  # noqa: ANN401
    """v(none) and v(all) `(b, 2, k)` from the model itself."""
    game = game_of(explainer, x)
    return narrowed(explainer, game_ends(game))


def game_ends(game: Game) -> Tensor:
    """v(none) and v(all) `(b, 2, k)` of every game."""
    mask = getattr(game, "player_mask", None)
    if mask is None:
        mask = torch.ones(game.n_explicands, game.n_players, dtype=torch.bool)
    return game(torch.stack([torch.zeros_like(mask), mask], 1)).detach()


def narrowed(explainer: "AmortizedExplainer", ends: Tensor) -> Tensor:
    """Ends of all classes, or of the predicted one alone, as the explainer takes them."""
    if explainer.config.classes == "all":
        return ends
    chosen = ends[:, 1].argmax(-1)
    return ends.gather(2, chosen[:, None, None].expand(-1, 2, 1))
