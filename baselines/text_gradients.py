"""Integrated gradients of text classifiers, over the embeddings of their tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.explanation import Explanation
from baselines.text import TextModel
from baselines.text_players import EncodedText, Text


class TextIntegratedGradients:
    """Gradients along the line from padding to the text, summed over each player's tokens.

    Every token but the special ones starts as the padding token's embedding; a player's value sums
    over its tokens and over the embedding's axes, for every output at once.

    Args:
        model: The text model; its removal plays no part.
        n_steps: Gauss-Legendre nodes on the line.

    Raises:
        ValueError: If there is no node.

    Source: Sundararajan, Taly and Yan (2017), eq. 1.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
        >>> from baselines import TextIntegratedGradients, TextModel
        >>> ids = {"[PAD]": 0, "[UNK]": 1, "a": 2, "good": 3, "film": 4}
        >>> core = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
        >>> core.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]")
        >>> sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> network = BertForSequenceClassification(BertConfig(vocab_size=5, **sizes)).eval()
        >>> model = TextModel(network, tokenizer, removal="drop")
        >>> TextIntegratedGradients(model, n_steps=8).explain(["a good film"]).values.shape
        torch.Size([1, 3, 2])
    """

    name = "integrated gradients"

    def __init__(self, model: TextModel, n_steps: int = 20) -> None:
        if n_steps < 1:
            raise ValueError(f"n_steps={n_steps}; at least one node is needed.")
        self.model, self.n_steps = model, n_steps

    def explain(self, x: Text | Sequence[Text]) -> Explanation:
        """Explain texts.

        Args:
            x: Texts or pairs of texts.

        Returns:
            Values `(b, n, k)`; the diagnostic `additivity_gap` `(b, k)` shows what the nodes miss.
        """
        encoded = self.model.encode(x)
        rows = [self._one(one) for one in encoded]
        n = max(len(one.players) for one in encoded)
        values = torch.stack(
            [torch.nn.functional.pad(row, (0, 0, 0, n - len(row))) for row, _, _ in rows]
        )
        base = torch.stack([empty for _, empty, _ in rows])
        whole = torch.stack([full for *_, full in rows])
        counts = torch.tensor([len(one.players) for one in encoded])
        return Explanation(
            values,
            estimand="gradient",
            game=f"{type(self.model.network).__name__} embeddings from padding",
            method=f"{self.name}, {self.n_steps} nodes",
            base_values=base,
            n_evals=2 + self.n_steps,
            players=[one.players for one in encoded],
            outputs=self.model.outputs,
            player_mask=torch.arange(n) < counts[:, None],
            diagnostics={"additivity_gap": values.sum(1) - (whole - base)},
        )

    def _one(self, text: EncodedText) -> tuple[Tensor, Tensor, Tensor]:
        """Values `(n, k)` of one text, and the outputs at both ends of the line."""
        device = self.model.device
        network: Any = self.model.network
        table = network.get_input_embeddings()
        pad = self.model.tokenizer.pad_token_id
        ids = text.ids.to(device)
        start = torch.where(text.special.to(device), ids, 0 if pad is None else pad)
        with torch.no_grad():
            there, here = table(start), table(ids)
        nodes, weights = np.polynomial.legendre.leggauss(self.n_steps)
        along = torch.as_tensor((nodes + 1) / 2, device=device, dtype=here.dtype)
        shares = torch.as_tensor(weights / 2, device=device, dtype=here.dtype)
        line = there + along[:, None, None] * (here - there)  # (steps, length, d)
        slopes = self._slopes(text, line, shares)  # (k, length, d)
        per_token = ((here - there) * slopes).sum(-1).T  # (length, k)
        values = per_token.new_zeros((len(text.players), per_token.shape[1]))
        owned = (text.owners >= 0).to(device)
        values.index_add_(0, text.owners.to(device)[owned], per_token[owned])
        with torch.no_grad():
            empty, full = self._outputs(text, torch.stack([there, here]))
        return values, empty, full

    def _slopes(self, text: EncodedText, line: Tensor, shares: Tensor) -> Tensor:
        """Mean gradient along the line `(k, length, d)` of every output."""
        line = line.detach().requires_grad_()
        with torch.enable_grad():
            outputs = (self._outputs(text, line) * shares[:, None]).sum(0)  # (k,)
            found = [
                torch.autograd.grad(output, line, retain_graph=True)[0].sum(0)
                for output in outputs
            ]
        return torch.stack(found)

    def _outputs(self, text: EncodedText, embeddings: Tensor) -> Tensor:
        """Outputs `(rows, k)` on the model's link of texts given by their embeddings."""
        size = len(embeddings)
        given = {
            name: part.to(embeddings.device).expand(size, -1)
            for name, part in text.inputs.items()
            if name != "input_ids"
        }
        attended = torch.ones(embeddings.shape[:2], dtype=torch.int64, device=embeddings.device)
        network = self.model.network
        answer = network(inputs_embeds=embeddings, attention_mask=attended, **given)
        return self.model.link_of(answer.logits)
