"""TextNet: static vectors of players and a sum of exact parts; reads its config by attribute."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from baselines.arguments import is_a
from baselines.saved_models import check_signature, settings_hash
from baselines.torch_calls import distinct
from harsanyi.indices import AGGREGATED, bernoulli, check_index, diagonal_rule
from harsanyi.parts.sequences import build_sequence, draw, linear

if TYPE_CHECKING:
    from baselines.interactions import Interactions
    from harsanyi.dividends import Dividends

NAMED = ("classes", "outputs", "problem_type", "unit", "encoder", "padding", "unknown")
"""Settings that change no shape and yet what the numbers mean."""


def drawn(config: Any, seed: int) -> "TextNet":  # noqa: ANN401
    """A net with fresh weights; torch's own generator is where it was.

    Args:
        config: As `TextNet` takes it.
        seed: Of the weights.
    """
    random: Any = torch.random
    with random.fork_rng(devices=[]):  # layers draw when built, before they are drawn anew
        net = TextNet(config)
    net.reset_parameters(torch.Generator().manual_seed(seed))
    return net


class TextNet(nn.Module):
    """A network over the players of a text whose Shapley values come in closed form.

    The game of a text is v(S) = `net(ids, present=S)`. Each player has one static vector; parts tie
    players together (harsanyi.parts.sequences).

    Args:
        config: Read by attribute: `vocab_size` (ids, or 0 for vectors as input), `input_width`,
            `width`, `n_types` (2 for pairs of texts), `parts` (specs), `n_outputs`, `gauge`
            ("free", or "binary": one number z read as the logits (-z/2, +z/2)), `dropout`, and the
            ids `padding` and `unknown`.

    Raises:
        ValueError: If the gauge and the outputs disagree, or there is neither vocabulary nor input.

    Example:
        >>> from harsanyi import HarsanyiForTextClassification
        >>> texts = ["a good film", "a bad film", "not a good film", "not a bad film"] * 8
        >>> labels = ["good", "bad", "bad", "good"] * 8
        >>> net = HarsanyiForTextClassification.from_texts(texts, labels, width=8, epochs=1)
        >>> type(net.net).__name__
        'TextNet'
    """

    def __init__(self, config: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.config = config
        self.n_outputs, self.gauge = int(config.n_outputs), config.gauge
        if self.gauge == "binary" and self.n_outputs != 2:
            raise ValueError(f"config.gauge='binary' needs 2 outputs; got {self.n_outputs}.")
        if not config.vocab_size and not config.input_width:
            raise ValueError("config needs vocab_size for ids, or input_width for vectors.")
        inner = 1 if self.gauge == "binary" else self.n_outputs
        width = config.width
        given = config.input_width
        self.embedding = (
            nn.Embedding(config.vocab_size, given or width) if config.vocab_size else None
        )
        self.unknown = nn.Parameter(torch.zeros(given or width)) if config.vocab_size else None
        self.project = linear(given, width) if given else None
        if self.embedding is not None and given:
            self.embedding.weight.requires_grad_(False)  # taken from elsewhere, and kept
        self.types = (
            nn.Parameter(torch.zeros(config.n_types, width)) if config.n_types > 1 else None
        )
        self.register_buffer("shift", torch.zeros(given or 1))
        self.register_buffer("scale", torch.ones(given or 1))
        self.dropout = nn.Dropout(config.dropout)
        self.parts = nn.ModuleList(build_sequence(spec, width, inner) for spec in config.parts)
        self.bias = nn.Parameter(torch.zeros(inner))
        self.register_buffer("signature", torch.zeros(1, dtype=torch.int64))
        self.sign()

    shift: Tensor
    scale: Tensor
    signature: Tensor

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all weights; an embedding that was given stays."""
        if self.embedding is not None and self.embedding.weight.requires_grad:
            self.embedding.weight.normal_(0, 0.2, generator=generator)
        if self.types is not None:
            self.types.normal_(0, 0.2, generator=generator)
        if self.project is not None:
            draw(self.project, generator)
        for part in self.parts:
            part.reset_parameters(generator)  # pyright: ignore[reportCallIssue]
        self.bias.zero_()

    @torch.no_grad()
    def take_vectors(self, matrix: Tensor | None, x: Tensor, real: Tensor) -> None:
        """Keep given vectors, centred and scaled over the players of the training texts.

        Args:
            matrix: Vectors of the vocabulary `(vocab, d)`; None where `x` holds the vectors.
            x: Ids `(b, n)` or vectors `(b, n, d)`.
            real: Bool `(b, n)`, false for padding.
        """
        rows = x[real]
        if self.embedding is not None and matrix is not None:
            self.embedding.weight.copy_(matrix)
            rows = self.embedding(distinct(rows))
        self.shift.copy_(rows.mean(0))
        spread = rows.std(0, correction=0)
        constant = spread <= 1e-6 * spread.max()  # says nothing, and must not blow up on new texts
        self.scale.copy_(torch.where(constant, torch.ones_like(spread), spread))

    def _settings(self) -> int:
        """A hash of everything that the weights mean something under, names included."""
        config = self.config
        settings = {
            "parts": [part.spec for part in self.parts],
            "gauge": self.gauge,
            "size": [config.vocab_size, config.input_width, config.width, config.n_types],
            "outputs": self.n_outputs,
            **{name: getattr(config, name, None) for name in NAMED},
        }
        return settings_hash(settings)

    @torch.no_grad()
    def sign(self) -> "TextNet":
        """Note in the weights the settings they belong to, as saving does."""
        self.signature.fill_(self._settings())
        return self

    def check_signature(self) -> None:
        """Check that the weights belong to these settings.

        Raises:
            ValueError: If they were saved under others.
        """
        about = (
            "settings (parts, gauge, sizes, unit, encoder, ids of padding and unknown) or names "
            "(classes, outputs)"
        )
        check_signature(int(self.signature), self._settings(), about)

    @property
    def deletes(self) -> bool:
        """Whether an absent player and one cut out of the text are the same to every part."""
        return all(bool(part.deletes) for part in self.parts)

    def vectors(self, x: Tensor, types: Tensor | None = None) -> Tensor:
        """Static vectors `(b, n, d)` of ids `(b, n)`, or of vectors `(b, n, input_width)`."""
        if self.embedding is not None:
            assert self.unknown is not None
            z = torch.where((x == self.config.unknown)[..., None], self.unknown, self.embedding(x))
        else:
            z = x.to(self.bias.dtype)
        if self.project is not None:
            z = self.project((z - self.shift) / self.scale)
        if self.types is not None:
            kinds = torch.zeros(z.shape[:2], dtype=torch.long, device=z.device)
            z = z + self.types[kinds if types is None else types]
        return self.dropout(z)

    def prepared(
        self, x: Tensor, present: Tensor | None, real: Tensor | None, types: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors, presence and reality of the players, checked.

        Raises:
            TypeError: If a tensor is of the wrong type.
            ValueError: If a shape is wrong or an id unknown.
        """
        self._check(x)
        if real is None:
            everybody = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
            real = everybody if self.embedding is None else torch.ne(x, self.config.padding)
        real = real.bool()
        if present is None:
            present = real
        elif present.dtype != torch.bool:
            raise TypeError(f"present is {present.dtype}; pass a bool mask, true = present.")
        if present.shape not in (real.shape, real.shape[1:], (1, real.shape[1])):
            raise ValueError(
                f"present has shape {tuple(present.shape)}; the texts need {tuple(real.shape)}."
            )
        return self.vectors(x, types), present & real, real

    def _check(self, x: Tensor) -> None:
        if self.embedding is not None:
            if not is_a(x, Tensor) or x.is_floating_point() or x.dtype == torch.bool:
                kind = x.dtype if is_a(x, Tensor) else type(x).__name__
                raise TypeError(f"x is {kind}; pass ids of players as an integer tensor (b, n).")
            if x.ndim != 2:
                raise ValueError(f"x has shape {tuple(x.shape)}; pass ids (b, n).")
            if x.numel() and not 0 <= int(x.min()) <= int(x.max()) < self.config.vocab_size:
                raise ValueError(
                    f"x has ids from {int(x.min())} to {int(x.max())}; this net knows 0 to "
                    f"{self.config.vocab_size - 1}."
                )
        elif not is_a(x, Tensor) or x.ndim != 3 or x.shape[2] != self.config.input_width:
            shape = tuple(x.shape) if is_a(x, Tensor) else type(x).__name__
            raise ValueError(
                f"x has shape {shape}; pass vectors (b, n, {self.config.input_width})."
            )

    def forward(
        self,
        x: Tensor,
        present: Tensor | None = None,
        *,
        real: Tensor | None = None,
        types: Tensor | None = None,
    ) -> Tensor:
        """Logits `(b, k)`: the game.

        Args:
            x: Ids `(b, n)`, padded; or vectors `(b, n, input_width)`.
            present: Bool `(b, n)` or `(n,)`; None means everybody.
            real: Bool `(b, n)`, false for padding; from the ids when None.
            types: `(b, n)`, 1 for players of the second text of a pair.
        """
        rows = self.prepared(x, present, real, types)
        z = self.bias
        for part in self.parts:
            z = z + part(*rows)
        return self._outputs(z.expand(len(x), -1))

    def attribute(
        self,
        x: Tensor,
        present: Tensor | None = None,
        *,
        real: Tensor | None = None,
        types: Tensor | None = None,
        tolerance: float = 0.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, Shapley values `(b, n, k)` and logits with nobody present, in one pass.

        Arguments as `forward`; a positive `tolerance` lets matrix products use as few nodes as
        they certify to be that near, in units of the logits.
        """
        rows = self.prepared(x, present, real, types)
        value = base = self.bias.expand(len(x), -1)
        shapley = value.new_zeros(*rows[1].shape, value.shape[-1])
        part: Any
        for part in self.parts:
            v, phi, nobody = part.attribute(*rows, tolerance=tolerance)
            value, shapley, base = value + v, shapley + phi, base + nobody
        return self._outputs(value), self._outputs(shapley), self._outputs(base)

    def _outputs(self, z: Tensor) -> Tensor:
        return torch.cat([-z / 2, z / 2], -1) if self.gauge == "binary" else z

    @torch.no_grad()
    def error_bound(self, x: Tensor, present: Tensor, **rows: Tensor | None) -> Tensor:
        """A bound `(b, k)` on the error of every Shapley value, rounding aside; 0 where exact."""
        vectors, there, _ = self.prepared(x, present, rows.get("real"), rows.get("types"))
        bound = vectors.new_zeros(len(x), len(self.bias))
        part: Any
        for part in self.parts:
            if hasattr(part, "error_bound"):
                bound = bound + part.error_bound(vectors, there)
        return self._outputs(bound).abs()

    @torch.no_grad()
    def index(
        self, rows: tuple[Tensor, Tensor, Tensor], index: str, order: int
    ) -> "tuple[Dividends, dict[int, Tensor]]":
        """Explicit dividends of the parts that have them, and dense tables of the others.

        Args:
            rows: What `prepared` gave.
            index: Interaction index.
            order: Largest size of a set.

        Returns:
            Dividends, the bias included, and per size s `(b, n choose s, k)`.

        Raises:
            ValueError: If a part has no closed form for the order.
        """
        x, present, real = rows
        n = x.shape[1]
        check_index(index, order, n)
        implicit: list[Any] = [part for part in self.parts if not hasattr(part, "terms")]
        if implicit and order > 2:
            kinds = ", ".join(part.spec["kind"] for part in implicit)
            raise ValueError(f"order is {order}; {kinds} have interactions of order 1 and 2 only.")
        base, degree = AGGREGATED.get(index, index), int(present.sum(1).max()) if len(x) else 0
        tables: dict[int, Tensor] = {}
        for size in range(1, order + 1) if implicit else ():
            rule = diagonal_rule(base, order, size, degree)
            found = [part.derivatives(x, present, real, size, rule) for part in implicit]
            tables[size] = self._outputs(torch.stack(found).sum(0))
        if index in AGGREGATED and 2 in tables:
            share = float(bernoulli(1)) if index == "k-SII" else -0.5
            first, second = torch.triu_indices(n, n, 1)
            singles = tables[1].index_add(1, first, share * tables[2])
            tables[1] = singles.index_add(1, second, share * tables[2])
        return self.explicit(rows), tables

    def explicit(self, rows: tuple[Tensor, Tensor, Tensor]) -> "Dividends":
        """Dividends of the parts that list them, the bias being the base.

        Args:
            rows: What `prepared` gave.
        """
        from harsanyi.dividends import Dividends

        x = rows[0]
        sets = [torch.zeros(0, x.shape[1], dtype=torch.bool, device=x.device)]
        values = [x.new_zeros(len(x), 0, self.n_outputs)]
        part: Any
        for part in self.parts:
            if hasattr(part, "terms"):
                found, dividends = part.terms(*rows)
                sets.append(found)
                values.append(self._outputs(dividends))
        bias = self._outputs(self.bias.expand(len(x), -1))
        return Dividends(torch.cat(sets), torch.cat(values, 1), bias)

    @torch.no_grad()
    def interactions(
        self,
        x: Tensor,
        index: str = "k-SII",
        order: int = 2,
        *,
        real: Tensor | None = None,
        types: Tensor | None = None,
        players: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        game: str = "",
    ) -> "Interactions":
        """Interactions of every set of 1 to `order` players, exact for the game.

        Args:
            x: Ids `(b, n)` or vectors.
            index: SII, k-SII, STII, FSII, BII or FBII.
            order: Largest size of a set; above 2 only where all parts have explicit dividends.
            real: Bool `(b, n)`, false for padding.
            types: `(b, n)`, 1 for players of a second text.
            players: Names of the players.
            outputs: Names of the outputs.
            game: The value function in words.
        """
        from baselines.interactions import Interactions
        from harsanyi.subsets import all_of_size, masks, merged

        rows = self.prepared(x, None, real, types)
        n = rows[0].shape[1]
        if is_a(order, int):
            order = min(order, max(1, n))
        explicit, tables = self.index(rows, index, order)
        told = explicit.interactions(index, order)
        sets: list[Tensor] = []
        values: list[Tensor] = []
        for size in range(1, order + 1):
            mine = told.subsets.sum(1) == size
            listed, worth = told.subsets[mine], told.values[:, mine]
            if size in tables:
                dense = masks(all_of_size(range(n), size, x.device), n)
                listed = torch.cat([listed, dense])
                worth = torch.cat([worth, tables[size]], 1)
            once, total = merged(listed, worth, size)
            sets.append(once)
            values.append(total)
        nobody = torch.zeros_like(rows[1])
        return Interactions(
            torch.cat(sets),
            torch.cat(values, 1),
            index=index,
            order=order,
            base_values=self(x, nobody, real=real, types=types),
            players=players,
            outputs=outputs,
            game=game,
            method="harsanyi",
            exact=True,
            n_evals=2,
        )
