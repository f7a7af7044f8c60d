"""What a LEX says of its explicands: inclusion probabilities, and how settled the answer then is."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from baselines import Explanation

if TYPE_CHECKING:
    from amortized.lex.lex import LEX


@torch.no_grad()
def explain_selection(lex: "LEX", rows: Tensor, masks: int, **about: Any) -> Explanation:  # noqa: ANN401
    """The explanation that `LEX.explain` documents.

    Args:
        lex: The model.
        rows: Explicands `(b, *features)`, checked.
        masks: Selections drawn for the spread of the prediction.
        **about: Fields of the Explanation in place of the model's, such as ragged `players`.

    Returns:
        Values `(b, n, 1)` of estimand `"selection"`, with diagnostics.

    Source: inclusion, Senetaire et al. (2023); within and between imputations, Rubin (1987).
    """
    logits = lex.logits(rows)
    generator = torch.Generator(rows.device).manual_seed(0)
    z = lex.law.hard(logits, lex.law.noise(logits, 1, masks, generator))
    answers = lex.log_probs(rows, z, generator)[0]  # (l, b, r, c)
    imputer = getattr(lex.imputer, "description", type(lex.imputer).__name__)
    shown = {
        "players": lex.players,
        "data": rows.reshape(len(rows), -1) if lex.groups is None else None,
    } | about
    diagnostics = {"logits": logits[..., None], "mode": lex.law.mode(logits)[..., None]}
    return Explanation(
        lex.law.inclusion(logits)[..., None],
        estimand="selection",
        game=f"p(y | selection), {imputer}, {lex.law}",
        method=f"LEX ({lex.regime} predictor)",
        n_evals=masks,
        outputs=["selected"],
        diagnostics=diagnostics | spreads(lex, answers),
        **shown,
    )


def spreads(lex: "LEX", answers: Tensor) -> dict[str, Tensor]:
    """The variance of a prediction, split by what it comes from.

    Args:
        lex: The model.
        answers: `(l, b, r, c)`: log-probabilities, or means in a regression, of `l` selections and
            `r` imputations of each.

    Returns:
        `between_selections`, `between_imputations` and `within_imputation`, each `(b, c)`; for
        class probabilities the three add up to p (1 - p) of the mixture.
    """
    if lex.task == "regression":
        mean, within = answers, lex.log_scale.exp().square().expand_as(answers[0, :, 0])
    else:
        mean = answers.exp()
        within = (mean * (1 - mean)).mean((0, 2))
    return {
        "between_selections": mean.mean(2).var(0, correction=0),
        "between_imputations": mean.var(2, correction=0).mean(0),
        "within_imputation": within,
    }
