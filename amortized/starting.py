"""Where the encoder of an explainer comes from: the model that is explained, or rows that show it."""

import json
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch import Tensor

from amortized.encoders import TextEncoder, spec_for
from amortized.examples import Examples, as_examples
from amortized.playing import GameFactory

if TYPE_CHECKING:
    from amortized.explainer import AmortizedExplainer


def target_spec(
    model: GameFactory,
    examples: Any,  # noqa: ANN401
    sizes: Mapping[str, Any],
    pretrained: str | PathLike[str] | None = None,
) -> tuple[dict[str, Any], Examples]:
    """The encoder's specification for a model, and examples that show its game.

    Args:
        model: A `TextModel`, or any function from examples to their games.
        examples: Rows or images; not needed for texts.
        sizes: Settings of the encoder.
        pretrained: Folder or hub name of another encoder of texts.

    Raises:
        TypeError: If the model is not callable.
        ValueError: If a setting is unknown, or rows and images come without examples.
    """
    if not callable(model):
        raise TypeError(
            f"model is a {type(model).__name__}; pass a TextModel, such as "
            "TextModel.from_pretrained(folder), or a function from examples to their games."
        )
    if not hasattr(model, "network"):
        if examples is None:
            raise ValueError("examples=None; pass rows or images, whose shape is needed.")
        found = as_examples(examples)
        return spec_for(found, model(found[:1]).n_players, **sizes), found
    if set(sizes) - {"padded", "max_length", "layers"}:
        raise ValueError(
            f"encoder={dict(sizes)}; for texts it takes 'padded', 'max_length' and 'layers', the "
            "rest is the model's."
        )
    spec = TextEncoder.spec(model, **sizes)
    if pretrained is not None:
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(pretrained)
        spec["network"] = json.loads(config.to_json_string(use_diff=False))
    return spec, ["text"]


def start_encoder(
    explainer: "AmortizedExplainer",
    model: GameFactory,
    examples: Examples,
    pretrained: str | PathLike[str] | None = None,
) -> None:
    """Weights, tokenizer and device of a text model; location and scale of rows and images.

    Args:
        explainer: Whose encoder starts.
        model: The explained model.
        examples: From `target_spec`.
        pretrained: As there.
    """
    encoder = explainer.encoder
    if not isinstance(encoder, TextEncoder):
        if isinstance(examples, Tensor):
            encoder.standardise(examples)
        return
    network: Any = getattr(model, "network", None)
    if pretrained is not None:
        from transformers import AutoModel

        network = AutoModel.from_pretrained(pretrained)
    encoder.start_from(network)
    encoder.tokenizer = getattr(model, "tokenizer", None)
    explainer.to(next(network.parameters()).device)
