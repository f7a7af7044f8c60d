"""Low-rank adapters for encoders too large to train whole (extra `lora`)."""

from typing import TYPE_CHECKING

from amortized.text_encoder import TextEncoder

if TYPE_CHECKING:
    from amortized.explainer import AmortizedExplainer


def add_adapters(explainer: "AmortizedExplainer", rank: int) -> None:
    """Freeze the text encoder and put low-rank maps beside its linear ones.

    Args:
        explainer: Not trained yet.
        rank: Rank of the maps.

    Raises:
        ImportError: If peft is not installed.
        ValueError: If the explainer reads no texts, or the rank is not positive.

    Source: Hu et al. (2022).
    """
    if rank < 1 or not isinstance(explainer.encoder, TextEncoder):
        raise ValueError(f"lora={rank}; adapters need a positive rank and a text encoder.")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError(
            "adapters need peft; install it with pip install 'harsanyi[lora]', or pass a smaller "
            "encoder with pretrained=."
        ) from error
    network = explainer.encoder.network
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    inject_adapter_in_model(settings, network)
    explainer.config.adapters = {"rank": rank}
