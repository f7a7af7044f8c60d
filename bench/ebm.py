"""Explainable boosting as a self-explaining model: its terms are the dividends of its own game.

A term counts when all of its columns are present, so v(S) is the intercept plus the terms within S,
and a column's Shapley value is its own term plus half of each of its pairs.
"""

from typing import Any

import numpy as np
import torch

from baselines.explanation import Explanation


class ExplainableBoosting:
    """A fitted `interpret` model that explains itself exactly.

    Args:
        model: A fitted ExplainableBoostingClassifier or ExplainableBoostingRegressor.
        players: Names of the columns.

    Source: Nori, Jenkins, Koch and Caruana (2019); the game is InstaSHAP's (2025) for terms.
    """

    def __init__(self, model: Any, players: list[str]) -> None:  # noqa: ANN401
        self.model = model
        self.players_ = players
        members = np.zeros((len(model.term_features_), len(players)), dtype=bool)
        for term, columns in enumerate(model.term_features_):
            members[term, list(columns)] = True
        self.members = members
        self.output_names_ = None
        if hasattr(model, "classes_"):
            classes = list(map(str, model.classes_))
            self.output_names_ = tuple(classes[-1:] if len(classes) == 2 else classes)

    def terms(self, X: Any) -> np.ndarray:  # noqa: ANN401 - a frame
        """Scores of the terms, `(b, terms, k)`; one output for two classes."""
        found = np.asarray(self.model.eval_terms(X), dtype=np.float64)
        return found[..., None] if found.ndim == 2 else found

    def logits(self, X: Any, present: np.ndarray | None = None) -> np.ndarray:  # noqa: ANN401
        """The game: intercept plus the terms whose columns are all present, `(b, k)`."""
        terms = self.terms(X)
        base = np.broadcast_to(np.ravel(self.model.intercept_), terms.shape[::2])
        if present is None:
            return base + terms.sum(1)
        kept = ~(self.members & ~present[:, None]).any(-1)
        return base + np.einsum("btk,bt->bk", terms, kept.astype(np.float64))

    def predict(self, X: Any, present: np.ndarray | None = None) -> np.ndarray:  # noqa: ANN401
        """Labels or numbers `(b,)`, with only some columns present."""
        found = self.logits(X, present)
        if self.output_names_ is None:
            return found[:, 0]
        column = found.argmax(1) if found.shape[1] > 1 else (found[:, 0] > 0).astype(int)
        return np.asarray(self.model.classes_)[column]

    def explain(self, X: Any) -> Explanation:  # noqa: ANN401 - a frame
        """Shapley values `(b, n, k)`, exact for the model's own game."""
        terms = self.terms(X)
        shares = self.members / self.members.sum(1, keepdims=True)
        values = np.einsum("btk,tn->bnk", terms, shares)
        base = np.broadcast_to(np.ravel(self.model.intercept_), terms.shape[::2]).copy()
        order = self.members.sum(1)
        size = np.abs(terms).sum((0, 2))
        spectrum = [size[order == s].sum() for s in range(1, len(self.players_) + 1)]
        total = sum(spectrum) or 1.0
        return Explanation(
            torch.from_numpy(values),
            game="EBM, terms within the coalition; logit",
            method="EBM",
            exact=True,
            base_values=torch.from_numpy(base),
            n_evals=1,
            players=tuple(self.players_),
            outputs=self.output_names_,
            diagnostics={"order_spectrum": torch.tensor([spectrum]).double() / total},
        )
