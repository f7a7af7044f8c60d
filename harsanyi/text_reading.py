"""How texts and labels become the tensors that a text net reads."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from harsanyi.outputs import label_loss, problem_of
from harsanyi.sentence_encoders import Encoder, encode_sentences, named_encoder
from harsanyi.text_fitting import bundles
from harsanyi.text_labels import check_labels, plain_labels
from harsanyi.text_net import TextNet
from harsanyi.text_options import check_finite
from harsanyi.vocabulary import Text, check_texts, encode


class ReadsTexts:
    """The half of a text model that reads; the other half computes.

    Attributes:
        config: A HarsanyiTextConfig.
        net: The net.
        tokenizer: Finds words or word pieces.
        encoder: Encodes sentences.
    """

    config: Any
    net: TextNet
    tokenizer: PreTrainedTokenizerFast | None
    encoder: Encoder | None

    def _data(
        self, texts: list[Text]
    ) -> tuple[Tensor, Tensor | None, Tensor, list[tuple[str, ...]]]:
        """Ids or vectors, types, which players are real, and their names."""
        device = self.net.bias.device
        if self.config.unit == "sentences":
            vectors, types, real, players = encode_sentences(
                self._encoder(), texts, self.config.input_width
            )
            kinds = types if self.config.n_types > 1 else None
            return (
                vectors.to(device),
                None if kinds is None else kinds.to(device),
                real.to(device),
                players,
            )
        if self.tokenizer is None:
            raise ValueError(
                "this model has no tokenizer; set model.tokenizer to the one it was trained with."
            )
        found = encode(self.tokenizer, texts)
        lengths = torch.tensor([len(names) for names in found.players], device=device)
        real = torch.arange(found.ids.shape[1], device=device) < lengths[:, None]
        types = found.types.to(device) if self.config.n_types > 1 else None
        return found.ids.to(device), types, real, found.players

    def _encoder(self) -> Encoder:
        if self.encoder is None:
            if self.config.encoder is None:
                raise ValueError(
                    "this model's players are sentences and its encoder was a function, which no "
                    "file holds; set model.encoder to it."
                )
            self.encoder = named_encoder(self.config.encoder)
        return self.encoder

    def _check_pairs(self, texts: Sequence[Text]) -> list[Text]:
        listed = check_texts(texts)
        if listed and isinstance(listed[0], tuple) != (self.config.n_types > 1):
            wanted = "pairs of texts" if self.config.n_types > 1 else "single texts"
            raise ValueError(f"texts[0] is {listed[0]!r:.60}; this model was trained on {wanted}.")
        return listed

    def _some(self, texts: Sequence[Text]) -> list[Text]:
        listed = self._check_pairs(texts)
        if not listed:
            raise ValueError("texts is empty; pass at least one.")
        return listed

    def _targets(self, labels: Sequence[Any]) -> Tensor:
        classes, plain = list(self.config.classes or []), plain_labels(labels)
        if not classes:
            return check_finite(torch.tensor([float(y) for y in plain]))[:, None]
        place = {label: i for i, label in enumerate(classes)}
        unknown = sorted({str(y) for y in plain if y not in place})
        if unknown:
            raise ValueError(f"labels has {unknown[:5]}; this model knows {classes}.")
        return torch.tensor([place[y] for y in plain])

    def _validator(self, texts: Sequence[Text], labels: Sequence[Any]) -> Callable[[Any], float]:
        listed = self._check_pairs(texts)
        check_labels(listed, labels)
        targets = self._targets(labels)
        x, types, real, _ = self._data(listed)
        parts = bundles(x, types, real, 256)
        problem = problem_of(self.config)

        def mean_loss(net: Any) -> float:  # noqa: ANN401
            total = 0.0
            for one in parts:
                logits = net(one.x, real=one.real, types=one.types)
                total += float(label_loss(logits, targets[one.rows], problem)) * len(one.rows)
            return total / len(x)

        return mean_loss
