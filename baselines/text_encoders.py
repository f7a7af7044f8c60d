"""Encoders of the BERT family on kept tokens alone, with shared and skipped work left out.

Token and position decide what the first layer projects, so a text is projected once for all of its
coalitions; the classifier reads the first token, so the last layer works for that token alone.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from baselines.text_attention import SharedScores
from baselines.text_networks import Read, blocks, position_offset
from baselines.text_removal import TokenTable


@dataclasses.dataclass(frozen=True)
class Layer:
    """The parts of one post-norm layer.

    Args:
        query: Linear map of queries.
        key: Linear map of keys.
        value: Linear map of values.
        out: Linear map behind attention.
        norm: Norm behind attention.
        widen: First linear map of the feed-forward part.
        act: Its activation.
        narrow: Its second linear map.
        last_norm: Norm behind it.
        heads: Number of attention heads.
    """

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    out: Callable[[Tensor], Tensor]
    norm: nn.LayerNorm
    widen: Callable[[Tensor], Tensor]
    act: Callable[[Tensor], Tensor]
    narrow: Callable[[Tensor], Tensor]
    last_norm: nn.LayerNorm
    heads: int

    def project(self, hidden: Tensor) -> Tensor:
        """Queries, keys and values `(..., 3 d)` side by side."""
        weight = torch.cat([self.query.weight, self.key.weight, self.value.weight])
        bias = torch.cat([self.query.bias, self.key.bias, self.value.bias])
        return F.linear(hidden, weight, bias)

    def finish(self, hidden: Tensor, mixed: Tensor) -> Tensor:
        """What follows attention, for tokens `(tokens, d)` that mixed `(tokens, d)` is added to."""
        hidden = self.norm(self.out(mixed) + hidden)
        return self.last_norm(self.narrow(self.act(self.widen(hidden))) + hidden)

    def mix(self, projected: Tensor, lengths: list[tuple[int, int, int]]) -> Tensor:
        """Attention within each row of tokens that lie one row behind the other.

        Args:
            projected: `(tokens, 3 d)`.
            lengths: `(start, stop, length)` of ranges of rows of equal length.

        Returns:
            `(tokens, d)`.
        """
        parts, at, width = [], 0, projected.shape[1] // 3
        for start, stop, kept in lengths:
            rows = stop - start
            end = at + rows * kept
            # plain views: reading a pattern takes as long as attention within one short text
            asked = projected[at:end].view(rows, kept, 3, self.heads, width // self.heads)
            q, k, v = asked.permute(2, 0, 3, 1, 4).unbind(0)  # each r h t e
            mixed = F.scaled_dot_product_attention(q, k, v)
            parts.append(mixed.transpose(1, 2).reshape(rows * kept, width))
            at = end
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def first_only(self, hidden: Tensor, lengths: list[tuple[int, int, int]]) -> Tensor:
        """This layer's output `(rows, d)` for the first token of each row.

        A query that is pulled back through the keys' map meets hidden states directly, and the
        values' map follows the weighted mean: both cost a row once, not once per token.
        """
        heads, parts, at = self.heads, [], 0
        width = self.query.out_features // heads
        key = rearrange(self.key.weight, "(h e) d -> h e d", h=heads)
        value = rearrange(self.value.weight, "(h e) d -> h e d", h=heads)
        firsts = []
        for start, stop, kept in lengths:
            end = at + (stop - start) * kept
            rows = rearrange(hidden[at:end], "(r t) d -> r t d", t=kept)
            at = end
            firsts.append(rows[:, 0])
            asked = rearrange(self.query(rows[:, 0]), "r (h e) -> h r e", h=heads) @ key
            # the keys' bias adds the same to each score of a query, which softmax ignores
            score = rearrange(asked, "h r d -> r h d") @ rows.mT * width**-0.5
            mean = rearrange(score.softmax(-1) @ rows, "r h d -> h r d")
            parts.append(rearrange(mean @ value.mT, "h r e -> r (h e)") + self.value.bias)
        return self.finish(torch.cat(firsts), torch.cat(parts))


class FirstTokenEncoder:
    """Reads rows with a post-norm encoder whose classifier looks at the first token.

    Args:
        embed: `(inputs) -> (b, length, d)`, embeddings with their norm.
        layers: The encoder's layers.
        classify: `(rows, 1, d) -> (rows, k)`.
    """

    def __init__(
        self,
        embed: Callable[[dict[str, Tensor]], Tensor],
        layers: list[Layer],
        classify: Callable[[Tensor], Tensor],
    ) -> None:
        self.embed, self.layers, self.classify = embed, layers, classify

    def begin(self, table: TokenTable) -> Read:
        """Embed and project the tokens of a table once."""
        variants = [table.inputs]
        if table.substitute is not None:
            replaced = torch.full_like(table.owners, table.substitute)
            variants.append(table.inputs | {"input_ids": replaced})
        hidden = torch.cat([self.embed(inputs) for inputs in variants]).flatten(0, 1)
        projected = self.layers[0].project(hidden) if len(self.layers) > 1 else hidden
        size = table.owners.shape
        shared = None
        if table.substitute is None and len(self.layers) > 1:
            scores = rearrange(projected, "(b t) d -> b t d", t=size[1])
            shared = SharedScores(scores, table.lengths, self.layers[0].heads)

        def read(texts: Tensor, coalitions: Tensor) -> Tensor:
            present = table.present(texts, coalitions)
            read_on = present if table.substitute is None else table.real(texts, present.shape[1])
            row, place = read_on.nonzero().unbind(1)
            token = texts[row] * size[1] + place
            if table.substitute is not None:
                token = token + ~present[row, place] * (size[0] * size[1])
            token = token.to(hidden.device)
            lengths = blocks(read_on.sum(1))
            mixed = shared.mix(texts, present) if shared and shared.serves(texts) else None
            if mixed is None and len(self.layers) > 1:
                mixed = self.layers[0].mix(projected.index_select(0, token), lengths)
            return self._run(hidden.index_select(0, token), mixed, lengths)

        return read

    def _run(
        self, hidden: Tensor, mixed: Tensor | None, lengths: list[tuple[int, int, int]]
    ) -> Tensor:
        for layer in self.layers[:-1]:
            if mixed is None:
                mixed = layer.mix(layer.project(hidden), lengths)
            hidden, mixed = layer.finish(hidden, mixed), None
        return self.classify(self.layers[-1].first_only(hidden, lengths)[:, None])


def first_token_encoder(network: nn.Module) -> FirstTokenEncoder | None:
    """The fast reader of a classifier of the BERT family, or None where its parts are not those.

    Args:
        network: A transformers model for sequence classification: BERT, RoBERTa, XLM-RoBERTa,
            CamemBERT, ELECTRA or DistilBERT as they come.
    """
    layers = encoder_layers(network)
    if layers is None:
        return None
    config: Any = network.config
    try:
        classify = _CLASSIFY[config.model_type](network)
    except AttributeError:
        return None  # a variant with other parts: it is read in the plain way
    return FirstTokenEncoder(embedding_of(network), layers, classify)


def encoder_layers(network: nn.Module) -> list[Layer] | None:
    """The layers of an encoder of the BERT family, or None where its parts are not those.

    Args:
        network: A transformers model, with or without a head.
    """
    config: Any = getattr(network, "config", None)
    kind = getattr(config, "model_type", "")
    if kind not in _CLASSIFY:
        return None
    body: Any = network.base_model  # pyright: ignore[reportAttributeAccessIssue]
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        return None
    try:
        found = body.transformer.layer if kind == "distilbert" else body.encoder.layer
        return [_LAYER[kind == "distilbert"](part) for part in found]
    except AttributeError:
        return None


def embedding_of(network: nn.Module) -> Callable[..., Tensor]:
    """Inputs `(b, length)` by name -> embeddings `(b, length, d)`.

    Positions are counted from the left, or given second, int64 `(b, length)`.

    Args:
        network: A transformers model of the BERT family.
    """
    body: Any = network.base_model  # pyright: ignore[reportAttributeAccessIssue]
    parts = body.embeddings
    types = getattr(parts, "token_type_embeddings", None)
    offset = position_offset(network)
    project = getattr(body, "embeddings_project", None)

    def embed(inputs: dict[str, Tensor], positions: Tensor | None = None) -> Tensor:
        device = parts.word_embeddings.weight.device
        hidden = parts.word_embeddings(inputs["input_ids"].to(device))
        if types is not None:
            kinds = inputs.get("token_type_ids")
            hidden = hidden + (types.weight[0] if kinds is None else types(kinds.to(device)))
        if positions is None:
            first = parts.position_embeddings.weight[offset:]
            hidden = hidden + first[: hidden.shape[1]]
        else:
            hidden = hidden + parts.position_embeddings(positions.to(device) + offset)
        hidden = parts.LayerNorm(hidden)
        if parts.training:
            hidden = parts.dropout(hidden)
        return hidden if project is None else project(hidden)

    return embed


def _bert_layer(layer: Any) -> Layer:  # noqa: ANN401 - transformers' own classes
    attention = layer.attention.self
    return Layer(
        query=attention.query,
        key=attention.key,
        value=attention.value,
        out=layer.attention.output.dense,
        norm=layer.attention.output.LayerNorm,
        widen=layer.intermediate.dense,
        act=layer.intermediate.intermediate_act_fn,
        narrow=layer.output.dense,
        last_norm=layer.output.LayerNorm,
        heads=attention.num_attention_heads,
    )


def _distilbert_layer(layer: Any) -> Layer:  # noqa: ANN401
    attention = layer.attention
    return Layer(
        query=attention.q_lin,
        key=attention.k_lin,
        value=attention.v_lin,
        out=attention.out_lin,
        norm=layer.sa_layer_norm,
        widen=layer.ffn.lin1,
        act=layer.ffn.activation,
        narrow=layer.ffn.lin2,
        last_norm=layer.output_layer_norm,
        heads=attention.n_heads,
    )


def _pooled(network: Any) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    pooler = network.base_model.pooler.forward
    return lambda first: network.classifier(pooler(first))


def _headed(network: Any) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    return network.classifier


def _preclassified(network: Any) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    return lambda first: network.classifier(network.pre_classifier(first[:, 0]).relu())


_LAYER = {False: _bert_layer, True: _distilbert_layer}
_CLASSIFY: dict[str, Callable[[Any], Callable[[Tensor], Tensor]]] = {
    "bert": _pooled,
    "roberta": _headed,
    "xlm-roberta": _headed,
    "camembert": _headed,
    "electra": _headed,
    "distilbert": _preclassified,
}
