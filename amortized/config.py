"""What fixes the shapes of an amortized explainer, and what its numbers mean."""

from typing import Any

from transformers import PreTrainedConfig

from baselines.explanation import ESTIMANDS

FORMAT = 2
"""Version of the saved form; another one is refused."""

NORMALIZERS = ("none", "additive", "precision")


class AmortizedConfig(PreTrainedConfig):
    """Everything that fixes the shapes of an explainer, and what its numbers mean.

    Args:
        encoder: Specification of the encoder.
        outputs: Names of the outputs.
        head: One of `heads.HEADS`.
        uncertainty: Whether it predicts its own error.
        normalizer: "none", "additive" or "precision".
        ends: "predicted", or "exact" to ask the model for v(none) and v(all) of every example.
        classes: "all", or "predicted" for the model's own decision only.
        game: The value function, as `GameCard` holds it.
        estimand: What a value stands for, the teacher's.
        training: Settings that `fit` takes where its caller says nothing.
        measures: What was measured on held-out labels.
        conformal: Half-widths of intervals.
        adapters: Settings of the LoRA adapters that `fit` trains in place of the encoder, or None.
        format_version: Version of the saved form.

    Example:
        >>> from amortized import AmortizedConfig
        >>> AmortizedConfig().estimand
        'shapley'
    """

    model_type = "amortized-explainer"
    keys_to_ignore_at_inference = ["log_scales", "ends", "mask"]  # noqa: RUF012

    encoder: dict[str, Any] | None = None
    outputs: list[str] | None = None
    head: str = "mlp"
    uncertainty: bool = True
    normalizer: str = "none"
    ends: str = "predicted"
    classes: str = "all"
    game: dict[str, Any] | None = None
    estimand: str = "shapley"
    training: dict[str, Any] | None = None
    measures: dict[str, Any] | None = None
    conformal: dict[str, Any] | None = None
    adapters: dict[str, Any] | None = None
    format_version: int = FORMAT

    def __post_init__(self, **kwargs: Any) -> None:  # noqa: ANN401
        parent: Any = super()  # which gives its arguments no types
        parent.__post_init__(**kwargs)
        if self.format_version != FORMAT:
            raise ValueError(
                f"config.format_version is {self.format_version!r}; this version of amortized "
                f"reads {FORMAT}. Save the explainer again with the version that wrote it."
            )
        for name, known in (
            ("normalizer", NORMALIZERS),
            ("ends", ("predicted", "exact")),
            ("classes", ("all", "predicted")),
            ("estimand", ESTIMANDS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; use one of {known}.")
        if self.normalizer == "precision" and not self.uncertainty:
            raise ValueError("normalizer='precision' needs uncertainty=True.")
        self.outputs = [str(name) for name in self.outputs or ["output 0"]]
        self.encoder = dict(self.encoder or {"kind": "rows", "n_features": 1, "n_players": 1})
        self.training = dict(self.training or {})
        self.measures = dict(self.measures or {})
        self.conformal = dict(self.conformal or {})
