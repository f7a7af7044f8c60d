"""Low-rank adapters for encoders too large to train whole (extra `lora`).

They exist only while an explainer trains: its weights take them in when training ends, so that a
saved explainer is a plain network that loads, reads and multiplies without peft.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from amortized.text_encoder import TextEncoder
from baselines.randomness import seeded

if TYPE_CHECKING:
    from amortized.explainer import AmortizedExplainer

LARGE = 300_000_000
"""Parameters above which an encoder is trained through adapters where nobody says otherwise."""

RANK = 16
"""Rank of these."""


def adapter_settings(encoder: object, rank: int | None) -> dict[str, int] | None:
    """What the config of an explainer says of adapters.

    Args:
        encoder: Of the explainer.
        rank: Asked for; None lets the size of the encoder decide.

    Returns:
        The settings, or None for an encoder that is trained whole.

    Raises:
        ImportError: If adapters are wanted and peft is not installed.
        ValueError: If the encoder reads no texts, or the rank is not positive.
    """
    if rank is None:
        if not isinstance(encoder, TextEncoder):
            return None
        if sum(parameter.numel() for parameter in encoder.parameters()) <= LARGE:
            return None
        rank = RANK
    if rank < 1 or not isinstance(encoder, TextEncoder):
        raise ValueError(f"lora={rank}; adapters need a positive rank and a text encoder.")
    _demand_peft()
    return {"rank": rank}


@contextmanager
def adapted(explainer: "AmortizedExplainer", key: int = 0) -> Iterator[None]:
    """Train adapters in place of the text encoder, and add them to its weights afterwards.

    Nothing happens where the explainer's config has no adapters. When the block raises, the
    encoder's weights are those from before.

    Args:
        explainer: Whose encoder is frozen within the block.
        key: Key of the adapters' first weights.

    Raises:
        ImportError: If peft is not installed.

    Source: Hu et al. (2022), sec. 4.1.
    """
    said, encoder = explainer.config.adapters, explainer.encoder
    if said is None or not isinstance(encoder, TextEncoder):
        yield
        return
    _demand_peft()
    from peft import LoraConfig, LoraModel

    network = encoder.network
    trained = {name for name, each in network.named_parameters() if each.requires_grad}
    rank = int(said["rank"])
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    with seeded(key):
        tuner = LoraModel(network, settings, "default")
    encoder.plain = True  # packed, tokens meet the maps' own weights alone
    try:
        yield
    except BaseException:
        tuner.unload()
        raise
    else:
        tuner.merge_and_unload()
    finally:
        encoder.plain = False
        for name, each in network.named_parameters():
            each.requires_grad_(name in trained)


def _demand_peft() -> None:
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "adapters need peft; install it with pip install 'harsanyi[lora]', or pass a smaller "
            "encoder with pretrained=."
        ) from error
