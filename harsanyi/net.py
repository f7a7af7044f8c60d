"""HarsanyiNet: a bias and a sum of exact parts; its forward pass holds its Shapley values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from baselines.arguments import is_a
from baselines.explanation import Explanation
from baselines.saved_models import check_signature, settings_hash
from harsanyi.float64 import held, hold, overwrite
from harsanyi.parts import Part, build
from harsanyi.table import presence

if TYPE_CHECKING:
    from baselines.interactions import Interactions
    from harsanyi.dividends import Dividends

ABSENCES = ("baseline", "mask", "marginal")
CELLS = 2**24
"""Numbers of one intermediate that are held at once by default (64 MiB in float32)."""


@dataclass
class NetConfig:
    """The attributes a HarsanyiNet reads, without transformers.

    Attributes:
        n_players: Players `n`.
        n_outputs: Outputs `k` of the net; 2 for two classes.
        parts: Specs of the parts.
        absence: "baseline", "mask" or "marginal".
        gauge: "free", or "binary" for two logits that sum to zero.
        problem_type: "classification" or "regression".
        players: Names of the players, or None.
        outputs: Names of the outputs, or None.
        categories: Per player the labels of its codes, empty for a number; None: all numbers.

    Example:
        >>> import torch
        >>> from harsanyi import GatedPart, HarsanyiNet, NetConfig
        >>> block = {"units": 8, "children": 2, "channels": 4}
        >>> part = GatedPart(3, 2, blocks=[block, block])
        >>> NetConfig(n_players=3, n_outputs=2, parts=[part.spec]).absence
        'mask'
    """

    n_players: int
    n_outputs: int
    parts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    absence: str = "mask"
    gauge: str = "free"
    problem_type: str = "classification"
    players: list[str] | None = None
    outputs: list[str] | None = None
    categories: list[list[Any]] | None = None


class HarsanyiNet(nn.Module):
    """A network that is exactly explained by its own forward pass.

    The game of a row x is v(S) = `net(x, present=S)`, which sums bias and parts. In `baseline`
    semantics a player is absent, too, when its raw value equals the baseline, so that v(S) is a
    function of the row alone and anybody can check it as a black box. In `mask` semantics only the
    mask decides and the baseline's value is a value like any other. In `marginal` semantics an
    absent player is averaged over the training rows, where every part can.

    Args:
        config: Read by attribute: `n_players`, `n_outputs`, `parts` (specs, see
            `harsanyi.parts.build`), `absence`, and optionally `gauge` ("free", or "binary": one
            number z read as the logits (-z/2, +z/2)), `players` and `outputs` (names).
        parts: Modules to use in place of building them from the specs.

    Raises:
        ValueError: If a part has no closed form for the absence, or gauge and outputs disagree.

    Example:
        >>> import torch
        >>> from harsanyi import GatedPart, HarsanyiNet, NetConfig
        >>> block = {"units": 8, "children": 2, "channels": 4}
        >>> part = GatedPart(3, 2, blocks=[block, block])
        >>> net = HarsanyiNet(NetConfig(n_players=3, n_outputs=2, parts=[part.spec]), [part])
        >>> x = torch.zeros(5, 3, dtype=torch.float64)
        >>> e = net.explain(x)
        >>> torch.allclose(e.values.sum(1) + e.base_values, net(x))
        True
    """

    def __init__(self, config: Any, parts: Sequence[nn.Module] | None = None) -> None:  # noqa: ANN401
        super().__init__()
        self.config = config
        self.n_players, self.n_outputs = int(config.n_players), int(config.n_outputs)
        self.absence = config.absence
        self.gauge = getattr(config, "gauge", "free")
        if self.absence not in ABSENCES:
            raise ValueError(f"config.absence={self.absence!r}; choose one of {ABSENCES}.")
        if self.gauge == "binary" and self.n_outputs != 2:
            raise ValueError(f"config.gauge='binary' needs 2 outputs; got {self.n_outputs}.")
        inner = 1 if self.gauge == "binary" else self.n_outputs
        if parts is None:
            parts = [build(spec, self.n_players, inner) for spec in config.parts]
        for part in parts:
            _check_part(part, self.n_players, inner, self.absence)
        self.parts = nn.ModuleList(parts)
        self.bias = nn.Parameter(torch.zeros(inner))
        self.register_buffer("mixture", torch.ones(len(self.parts)))
        self.register_buffer("signature", torch.zeros(1, dtype=torch.int64))
        hold(self, "baseline", torch.zeros(self.n_players, dtype=torch.float64))
        self.sign()
        module: Any = self  # torch gives hooks no types
        module.register_load_state_dict_post_hook(_check_loaded)

    mixture: Tensor
    signature: Tensor
    named = ("players", "outputs", "categories")
    """What of the config changes no shape and yet what the numbers mean."""

    def signed(self, config: Any = None) -> int:  # noqa: ANN401
        """A hash of everything that the weights mean something under, names included.

        Args:
            config: Where names are read: players, outputs, categories and classes; the net's own
                when None.
        """
        config = self.config if config is None else config
        about: dict[str, Any] = getattr(config, "estimator", None) or {}
        settings: dict[str, Any] = {
            **{name: about.get(name) for name in ("kind", "classes", "classes_dtype")},
            **{name: getattr(config, name, None) for name in self.named},
            "parts": [part.spec for part in self.parts],
            "absence": self.absence,
            "gauge": self.gauge,
            "size": [self.n_players, self.n_outputs],
        }
        return settings_hash(settings)

    @torch.no_grad()
    def sign(self) -> "HarsanyiNet":
        """Note in the weights the settings they belong to, as saving does."""
        self.signature.fill_(self.signed())
        return self

    def check_signature(self) -> None:
        """Check that the weights belong to these settings: gates, gamma, absence, names.

        Raises:
            ValueError: If they were saved under others.
        """
        about = (
            "settings (parts, gate, gamma, activation, absence, gauge) or names (players, "
            "outputs, categories, classes)"
        )
        check_signature(int(self.signature), self.signed(), about)

    @property
    def baseline(self) -> Tensor:
        """Raw row `(n,)`, float64, whatever the dtype of the weights."""
        return held(self, "baseline")

    @torch.no_grad()
    def set_baseline(self, baseline: Tensor) -> "HarsanyiNet":
        """Replace the baseline by a raw row `(n,)`.

        Raises:
            ValueError: If its shape is another.
        """
        if baseline.shape != (self.n_players,):
            raise ValueError(
                f"baseline has shape {tuple(baseline.shape)}; ({self.n_players},) needed."
            )
        overwrite(self, "baseline", baseline)
        return self

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Zero the bias; parts reset themselves."""
        self.bias.zero_()

    def presence(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Who is present, bool `(b, n)`, decided on raw rows before any cast.

        Args:
            x: Raw rows `(b, n)`.
            present: Who is asked for, bool `(b, n)` or `(n,)`; None means everybody.
        """
        return presence(x, present, self.baseline if self.absence == "baseline" else None)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Outputs of raw rows, logits for a classifier.

        Args:
            x: Raw rows `(b, n)`, float64 so that no two values are confused.
            present: Bool `(b, n)` or `(n,)`; None means everybody.

        Returns:
            `(b, k)`.

        Raises:
            TypeError: If `x` is not floating or `present` not bool.
            ValueError: If a shape is wrong.
        """
        self._check(x, present)
        there = self.presence(x, present)
        z = self.bias
        for weight, part in zip(self.mixture, self.parts, strict=True):
            z = z + weight * part(x, there)
        return self._outputs(z.expand(x.shape[0], -1))

    def attribute(self, x: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs, Shapley values and base values in one differentiable pass.

        Args:
            x: Raw rows `(b, n)`.
            present: Bool `(b, n)` or `(n,)`; None means everybody.

        Returns:
            Outputs `(b, k)`, Shapley values `(b, n, k)` of the game below `present`, and outputs
            with nobody present `(b, k)`.
        """
        self._check(x, present)
        there = self.presence(x, present)
        # parts add up in float32 at least, and the sum is rounded once
        dtype = self.bias.dtype
        wide = torch.promote_types(dtype, torch.float32)
        value = base = self.bias.to(wide).expand(x.shape[0], -1)
        shapley: Tensor | None = None
        for weight, part in zip(self.mixture.to(wide), self.parts, strict=True):
            v, phi, nobody = (z.to(wide) for z in _attribute(part, x, there))
            value, base = value + weight * v, base + weight * nobody
            shapley = weight * phi if shapley is None else shapley + weight * phi
        if shapley is None:
            shapley = value.new_zeros(x.shape[0], self.n_players, self.bias.shape[0])
        sums = (value, shapley, base)
        value, shapley, base = (self._outputs(z).to(dtype) for z in sums)
        return value, shapley, base

    @torch.no_grad()
    def explain(
        self, x: Tensor, present: Tensor | None = None, *, max_rows: int | None = None
    ) -> Explanation:
        """Exact Shapley values of all outputs.

        Neither weights, dtype, train flag nor any random state change.

        Args:
            x: Raw rows `(b, n)`.
            present: Players of the game, bool `(b, n)` or `(n,)`; the others stay absent and get
                0.
            max_rows: Rows worked on at once; by default what a memory budget allows.

        Returns:
            Values `(b, n, k)` in units of the outputs. `diagnostics["additivity_gap"]` `(b, k)` is
            the sum of the values minus what it should be, as measured.
        """
        self._check(x, present)
        mask = None if present is None else present.expand(len(x), self.n_players)
        step = max_rows or self.max_rows
        pieces = [
            self.attribute(x[i : i + step], None if mask is None else mask[i : i + step])
            for i in range(0, max(1, len(x)), step)
        ]
        value, shapley, base = (
            piece[0] if len(piece) == 1 else torch.cat(piece)
            for piece in zip(*pieces, strict=True)
        )
        return Explanation(
            shapley,
            estimand="shapley",
            game=self.description,
            method="harsanyi",
            exact=True,
            base_values=base,
            n_evals=2,
            players=self.players,
            outputs=getattr(self.config, "outputs", None),
            data=x,
            categories=_labels(self.config),
            diagnostics={"additivity_gap": shapley.sum(1) - (value - base)},
        )

    @torch.no_grad()
    def dividends(
        self, x: Tensor, present: Tensor | None = None, *, max_coalitions: int = 2**16
    ) -> "Dividends":
        """Dividends of the game, bias and all parts.

        Args:
            x: Raw rows `(b, n)`.
            present: Players of the game; None means everybody.
            max_coalitions: Most coalitions that may be listed; closed forms are not limited.

        Returns:
            Dividends whose `value(S)` is `net(x, present=S)`.
        """
        from harsanyi.dividends import Dividends

        self._check(x, present)
        there = self.presence(x, present)
        nobody = torch.zeros(0, self.n_players, dtype=torch.bool, device=x.device)
        bias = self.bias.detach().expand(len(x), -1)
        games = [Dividends(nobody, bias.new_zeros(len(x), 0, bias.shape[1]), bias)]
        games += [
            cast("Part", part).terms(x, there).combine(weight * torch.eye(bias.shape[1]).to(bias))
            for weight, part in zip(self.mixture, self.parts, strict=True)
        ]
        total = Dividends.sum(games)
        if self.gauge == "binary":
            total = total.combine(torch.tensor([[-0.5, 0.5]]))
        names = {name: getattr(self.config, name, None) for name in ("players", "outputs")}
        return total.replaced(
            max_terms=max_coalitions,
            game=self.description,
            **{name: None if value is None else tuple(value) for name, value in names.items()},
        )

    def order_spectrum(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Share of each order in the absolute dividends of the parts, `(b, n, k)`.

        Order s stands at s - 1. Dividends of different parts on one coalition are counted one by
        one; `dividends(x).order_spectrum()` adds them up first, where they can be listed.

        Args:
            x: Raw rows `(b, n)`.
            present: Players of the game; None means everybody.
        """
        from harsanyi.spectrum import shares, term_mass

        self._check(x, present)
        there = self.presence(x, present)
        mass = self.bias.new_zeros(len(x), self.n_players, self.bias.shape[0])
        step = min(64, self.max_rows)
        for weight, module in zip(self.mixture, self.parts, strict=True):
            part: Any = module
            if hasattr(part, "term_mass"):
                pieces = [part.term_mass(x, there)]
            else:
                tiles = (
                    zip(torch.split(x, step), torch.split(there, step), strict=True)
                    if len(x)
                    else ()
                )
                pieces = [mass[:0], *(term_mass(part.terms(*tile)) for tile in tiles)]
            mass = mass + weight.abs() * torch.cat(pieces)
        share = shares(mass)
        return share.expand(-1, -1, self.n_outputs) if self.gauge == "binary" else share

    def interactions(self, x: Tensor, index: str = "k-SII", order: int = 2) -> "Interactions":
        """Interactions of raw rows `(b, n)` under an index, up to an order, exactly."""
        return self.dividends(x).interactions(index, order)

    @property
    def max_rows(self) -> int:
        """Rows worked on at once by default: bounds memory, changes nothing else."""
        widths = [getattr(part, "cells_per_row", self.n_players) for part in self.parts]
        return min(4096, max(16, CELLS // max([self.n_players * self.n_outputs, *widths])))

    @property
    def players(self) -> list[str] | None:
        """Names of the players, or None."""
        names = getattr(self.config, "players", None)
        return None if names is None else list(names)

    @property
    def description(self) -> str:
        """The game in words: value function and absence."""
        scale = "logit" if getattr(self.config, "problem_type", None) != "regression" else "output"
        return f"harsanyi net, absence={self.absence}, {scale}"

    def _outputs(self, z: Tensor) -> Tensor:
        return torch.cat([-z / 2, z / 2], -1) if self.gauge == "binary" else z

    def _check(self, x: Tensor, present: Tensor | None) -> None:
        if not is_a(x, Tensor) or not x.is_floating_point():
            kind = x.dtype if is_a(x, Tensor) else type(x).__name__
            raise TypeError(f"x is {kind}; pass raw rows as a float64 tensor (b, n).")
        if x.ndim != 2 or x.shape[1] != self.n_players:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; this net has {self.n_players} players and takes "
                f"(b, {self.n_players})."
            )
        if present is None:
            return
        if present.dtype != torch.bool:
            raise TypeError(f"present is {present.dtype}; pass a bool mask, true = present.")
        if present.shape not in (x.shape, x.shape[1:], (1, self.n_players)):
            raise ValueError(f"present has shape {tuple(present.shape)}; x has {tuple(x.shape)}.")


def _check_loaded(net: HarsanyiNet, _: object) -> None:
    """A hook that a pickle can hold, as a lambda could not be."""
    net.check_signature()


def _labels(config: Any) -> list[list[str]] | None:  # noqa: ANN401
    """What the codes of each player stand for, in words; None where all players are numbers."""
    categories: list[list[Any]] = getattr(config, "categories", None) or []
    return [[str(label) for label in labels] for labels in categories] if any(categories) else None


def _attribute(part: Any, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
    """Value, Shapley values and base of a part, in one pass where it has one."""
    if hasattr(part, "attribute"):
        return part.attribute(x, present)
    # what stands in absent cells does not matter, so the value of nobody is one row's
    nobody = part(x[:1], torch.zeros_like(present[:1])).expand(x.shape[0], -1)
    return part(x, present), part.shapley(x, present), nobody


def _check_part(part: Any, n_players: int, n_outputs: int, absence: str) -> None:  # noqa: ANN401
    if (part.n_players, part.n_outputs) != (n_players, n_outputs):
        raise ValueError(
            f"a {type(part).__name__} has {part.n_players} players and {part.n_outputs} outputs; "
            f"this net needs {n_players} and {n_outputs}."
        )
    if absence not in part.absences:
        raise ValueError(
            f"absence={absence!r} has no closed form in {type(part).__name__}, which knows "
            f"{', '.join(sorted(part.absences))}. Choose one of these, or other parts."
        )
