"""Attention rollout: how much of a token's content attention passes on to the read-out."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from baselines.explanation import Explanation
from baselines.torch_calls import as_list


class AttentionRollout:
    """Attention followed through the layers, with half of each token staying where it is.

    It is the same for every output, and says where content comes from, not whether it speaks for
    or against an output.

    Args:
        model: A transformers model that can return its attentions.
        tokenizer: Turns texts into tokens and names them; None takes token ids or encodings.
        position: Token whose content is followed back, 0 for the first ([CLS]).

    Raises:
        TypeError: If the model is no transformers model.

    Source: Abnar and Zuidema (2020), sec. 3, heads averaged.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
        >>> from baselines import AttentionRollout
        >>> ids = {"[PAD]": 0, "[UNK]": 1, "a": 2, "good": 3, "film": 4}
        >>> core = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
        >>> core.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]")
        >>> sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> network = BertForSequenceClassification(BertConfig(vocab_size=5, **sizes)).eval()
        >>> network.set_attn_implementation("eager")
        >>> AttentionRollout(network, tokenizer).explain(["a good film"]).values.shape
        torch.Size([1, 3, 1])
    """

    def __init__(self, model: nn.Module, tokenizer: Any = None, *, position: int = 0) -> None:  # noqa: ANN401
        if not hasattr(model, "set_attn_implementation"):
            raise TypeError(f"model is a {type(model).__name__}; a transformers model is needed.")
        self.model = model
        self.tokenizer = tokenizer
        self.position = position

    def explain(self, x: Any) -> Explanation:  # noqa: ANN401 - texts, ids or an encoding
        """Share of each token in the followed token's content.

        Args:
            x: Texts (with a tokenizer), token ids `(b, n)`, or an encoding: a mapping of tensors
                as the model takes them.

        Returns:
            Values `(b, n, 1)`, not negative, estimand "attention". Special tokens (known to the
            tokenizer) and padding are no players; the rest keep their order.

        Raises:
            TypeError: If texts come without a tokenizer.
            ValueError: If the model returns no attentions.
        """
        encoding, special = self._encode(x)
        flow = self._rollout(encoding)  # (b, n)
        ids = encoding.get("input_ids")
        real = torch.ones_like(flow, dtype=torch.bool)
        if "attention_mask" in encoding:
            real = encoding["attention_mask"].bool()
        if ids is not None and special:
            real = real & ~torch.isin(ids, torch.tensor(special, device=ids.device))
        # real tokens move to the front in their order, padding to the end
        order = (~real).long().argsort(dim=1, stable=True)[:, : max(1, int(real.sum(1).max()))]
        mask = real.gather(1, order)
        values = torch.where(mask, flow.gather(1, order), 0.0)
        players = None
        if ids is not None and self.tokenizer is not None:
            tokens = [self.tokenizer.convert_ids_to_tokens(row) for row in as_list(ids)]
            players = [
                tuple(tokens[i][j] for j, kept in zip(row, keep, strict=True) if kept)
                for i, (row, keep) in enumerate(zip(as_list(order), as_list(mask), strict=True))
            ]
        return Explanation(
            values=values[..., None],
            estimand="attention",
            game=f"{type(self.model).__name__}, attention from token {self.position}",
            method="attention rollout",
            n_evals=1,
            players=players,
            player_mask=mask,
        )

    def _encode(self, x: Any) -> tuple[Mapping[str, Tensor], Sequence[int]]:  # noqa: ANN401
        special = [] if self.tokenizer is None else list(self.tokenizer.all_special_ids)
        if hasattr(x, "keys"):
            return dict(x), special
        if isinstance(x, Tensor):
            return {"input_ids": x, "attention_mask": torch.ones_like(x)}, special
        if self.tokenizer is None:
            raise TypeError(
                "x holds texts; pass AttentionRollout(model, tokenizer) to read them, or token ids."
            )
        device = next(self.model.parameters()).device
        texts = [x] if isinstance(x, str) else list(x)
        encoding = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return {name: tensor.to(device) for name, tensor in encoding.items()}, special

    def _rollout(self, encoding: Mapping[str, Tensor]) -> Tensor:
        model: Any = self.model
        before = model.config._attn_implementation
        # fused attention never forms the matrix: switch for this one pass
        model.set_attn_implementation("eager")
        try:
            with torch.no_grad():
                attentions = model(**encoding, output_attentions=True).attentions
        finally:
            model.set_attn_implementation(before)
        if not attentions or any(layer is None for layer in attentions):
            raise ValueError(f"{type(self.model).__name__} returned no attentions.")
        size = attentions[0].shape[-1]
        eye = torch.eye(size, dtype=attentions[0].dtype, device=attentions[0].device)
        flow = eye[self.position][None, None]  # (1, 1, n), a row pushed down from the top layer
        for layer in reversed(attentions):
            mixed = (layer.mean(1) + eye) / 2
            flow = flow @ (mixed / mixed.sum(-1, keepdim=True))
        return flow[:, 0]
