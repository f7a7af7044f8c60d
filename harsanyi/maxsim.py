"""Late-interaction search explained exactly: MaxSim scores are sums of maxima (maxima.py).

    score(query, document) = sum over the query's vectors of the largest similarity to a vector kept

A player is a vector of the document: absent means left out of the index, which is what pruning an
index does. Vectors that an encoder put into context carry their neighbours; the values are of the
vectors, not of the words behind them.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from einops import einsum
from torch import Tensor

from baselines.attribution import one_each
from baselines.explanation import Explanation
from harsanyi.maxima import joint_maximum_shapley, maximum_pairs, maximum_shapley
from harsanyi.quadrature import exact_nodes, legendre_rule
from harsanyi.text_options import flags_of

Side = Literal["document", "both"]

TokenEncoder = Callable[[str], tuple[Sequence[str], Any]]
"""From a text to its tokens and their vectors `(n, d)`."""


class MaxSim:
    """A late-interaction scorer that says which vectors its scores come from.

    Args:
        encode: From a text to its tokens and their vectors `(n, d)`; not needed where vectors are
            passed themselves.
        normalise: Scale vectors to length 1, so that similarities are cosines.
        floor: What a query vector is worth when no vector of the document is better.

    Source: Khattab and Zaharia (2020), ColBERT; values by the airport game of Littlechild and Owen
        (1973).

    Example:
        >>> import torch
        >>> from harsanyi import MaxSim
        >>> query, document = torch.eye(2), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
        >>> MaxSim().explain(query, [document]).values[0, :, 0]  # what each document vector adds
        tensor([0.7000, 1.1000])
    """

    def __init__(
        self,
        encode: TokenEncoder | None = None,
        *,
        normalise: bool = True,
        floor: float = 0.0,
    ) -> None:
        if not np.isfinite(floor):
            raise ValueError(f"floor is {floor}; it must be a finite number.")
        self.encode, self.normalise, self.floor = encode, normalise, float(floor)

    def _vectors(self, what: Any, name: str) -> tuple[tuple[str, ...], Tensor]:  # noqa: ANN401
        """Tokens and vectors of a text, a pair (tokens, vectors), or bare vectors."""
        entries = one_each(what, 1)
        if isinstance(what, str):
            if self.encode is None:
                raise ValueError(f"{name} is a text; give MaxSim an encode function, or vectors.")
            tokens, vectors = self.encode(what)
        elif len(entries) == 2:
            tokens, vectors = entries
        else:
            tokens, vectors = None, what
        matrix = vectors if isinstance(vectors, Tensor) else torch.as_tensor(np.asarray(vectors))
        matrix = matrix.detach()
        matrix = matrix if matrix.is_floating_point() else matrix.to(torch.get_default_dtype())
        if matrix.ndim != 2 or not matrix.isfinite().all():
            raise ValueError(
                f"{name} has vectors of shape {tuple(matrix.shape)}; pass finite numbers (n, d)."
            )
        names = (
            tuple(tokens)
            if tokens is not None
            else tuple(f"vector {i}" for i in range(len(matrix)))
        )
        if len(names) != len(matrix):
            raise ValueError(f"{name} has {len(names)} tokens and {len(matrix)} vectors.")
        if self.normalise:
            matrix = torch.nn.functional.normalize(matrix, dim=-1)
        return names, matrix

    def similarities(self, query: Any, document: Any) -> Tensor:  # noqa: ANN401
        """Similarity `(q, n)` of every vector of a query to every vector of a document.

        Args:
            query: A text, a pair (tokens, vectors `(q, d)`), or vectors.
            document: Likewise, vectors `(n, d)`.
        """
        asked, offered = self._vectors(query, "query")[1], self._vectors(document, "document")[1]
        if asked.shape[1] != offered.shape[1]:
            raise ValueError(
                f"query vectors have {asked.shape[1]} numbers and document vectors "
                f"{offered.shape[1]}; encode both alike."
            )
        wide = torch.promote_types(asked.dtype, offered.dtype)
        return asked.to(wide) @ offered.to(wide).T

    def score(self, query: Any, documents: Sequence[Any], present: Any = None) -> Tensor:  # noqa: ANN401
        """Scores `(b,)` of documents, with the vectors `present` kept: the game.

        Args:
            query: A text, a pair (tokens, vectors), or vectors.
            documents: As many as wanted, each like the query.
            present: One list of flags per document; None keeps all.

        Raises:
            TypeError: If flags are neither booleans nor 0 and 1.
            ValueError: If they do not fit the documents.
        """
        found: list[Tensor] = []
        if present is not None and len(present) != len(documents):
            raise ValueError(
                f"present has {len(present)} rows; there are {len(documents)} documents."
            )
        for place, document in enumerate(documents):
            sims = self.similarities(query, document)
            if present is not None:
                kept = flags_of(present[place], place)
                if kept.shape != sims.shape[1:]:
                    raise ValueError(
                        f"present[{place}] has shape {tuple(kept.shape)}; the document has "
                        f"{sims.shape[1]} vectors."
                    )
                sims = sims[:, kept]
            floor = sims.new_full((len(sims), 1), self.floor)
            found.append(torch.cat([sims, floor], 1).amax(1).sum())
        return torch.stack(found) if found else torch.zeros(0)

    def rank(self, query: Any, documents: Sequence[Any], top: int = 10) -> list[tuple[int, float]]:  # noqa: ANN401
        """Positions and scores of the best documents, best first."""
        scores = self.score(query, documents)
        order = scores.argsort(descending=True, stable=True)[:top]
        return [(int(i), float(scores[i])) for i in order]

    def explain(
        self,
        query: Any,  # noqa: ANN401
        documents: Sequence[Any],
        *,
        players: Side = "document",
    ) -> Explanation:
        """Exact Shapley values of the vectors behind each score.

        Args:
            query: A text, a pair (tokens, vectors), or vectors.
            documents: At least one, each like the query.
            players: "document": the document's vectors; "both": the query's vectors, then the
                document's. With "both" the game needs a vector of either side to be worth anything.

        Returns:
            Values `(b, n, 1)`; documents may differ in length, padding scores 0.

        Raises:
            ValueError: If there is no document, or shapes disagree.
        """
        if players not in ("document", "both"):
            raise ValueError(f'players={players!r}; choose "document" or "both".')
        if players == "both" and self.floor:
            raise ValueError(f'players="both" needs floor=0; it is {self.floor}.')
        if not len(documents):
            raise ValueError("documents is empty; pass at least one.")
        asked = self._vectors(query, "query")[0]
        rows: list[Tensor] = []
        names: list[tuple[str, ...]] = []
        bases: list[float] = []
        for document in documents:
            sims = self.similarities(query, document)
            offered = self._vectors(document, "document")[0]
            if players == "both":
                askers, offerers = joint_maximum_shapley(sims)
                rows.append(torch.cat([askers, offerers]))
                names.append((*asked, *offered))
                bases.append(0.0)
            else:
                rows.append(maximum_shapley(sims, self.floor).sum(0))
                names.append(offered)
                bases.append(self.floor * len(sims))
        values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)[..., None]
        lengths = torch.tensor([len(row) for row in rows])
        kept = "kept in the index" if players == "document" else "there, on either side"
        return Explanation(
            values,
            estimand="shapley",
            game=f"MaxSim score with only the vectors {kept}",
            method="maxsim",
            exact=True,
            base_values=values.new_tensor(bases)[:, None],
            n_evals=2,
            players=names,
            outputs=["score"],
            player_mask=torch.arange(values.shape[1]) < lengths[:, None],
        )

    def interactions(self, query: Any, document: Any) -> Tensor:  # noqa: ANN401
        """Shapley interactions (SII) `(n, n)` of the document's vectors; negative for substitutes."""
        sims = self.similarities(query, document)
        rule = legendre_rule(exact_nodes(sims.shape[1]))
        floor = sims.new_full((len(sims),), self.floor)
        return einsum(maximum_pairs(sims, floor, rule), "q i j -> i j")
