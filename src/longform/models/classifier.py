"""`LongTextClassifier`: an encoder of segments and a head over their vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import logging

from longform.models.aggregators import AGGREGATORS, split_parts
from longform.models.bag import BagEncoder
from longform.models.configuration import LongTextConfig
from longform.models.encoders import SCRATCH, build_encoder
from longform.models.place import Place
from longform.models.pooling import first_vector

Encode = Callable[[Tensor, Tensor], Tensor]
"""Token ids and mask, int64 `[segments, tokens]` each, to vectors `[segments, width]`."""


class Head(nn.Module):
    """Segment vectors and their places to logits.

    The document vector is the aggregate beside the first segment's vector, since the head of a
    document often carries the signal. Of a pair of texts, both vectors stand beside their distance
    and their product in each feature (Conneau et al., "Supervised Learning of Universal Sentence
    Representations", 2017).

    Args:
        config: The aggregator, the number of labels and how they are decided are read.
    """

    vector_mean: Tensor
    vector_scale: Tensor

    def __init__(self, config: LongTextConfig) -> None:
        super().__init__()
        width = config.vector_size
        self.register_buffer("vector_mean", torch.zeros(width))
        self.register_buffer("vector_scale", torch.ones(width))
        self.normalization = nn.LayerNorm(width)
        self.place = Place(width)
        self.aggregator = AGGREGATORS[config.aggregator](width, config)
        self.dropout = nn.Dropout(config.dropout)
        document_size = int(self.aggregator.output_size) + width  # type: ignore[arg-type]
        self.text_pair = config.text_pair
        self.one_logit = config.binary_logits == 1 and is_binary(config)
        self.classifier = nn.Linear(
            document_size * (4 if self.text_pair else 1),
            1 if self.one_logit else config.num_labels,
        )

    def standardize(self, mean: Tensor, deviation: Tensor) -> None:
        """Centre and scale the vectors of a frozen encoder before anything else.

        Pretrained encoders put all texts into a narrow cone: without this, most of every vector
        is the same, and training spends its first epochs on that.

        Args:
            mean: float `[width]`, of the training segments.
            deviation: float `[width]`.
        """
        self.vector_mean.copy_(mean)
        self.vector_scale.copy_(1.0 / deviation.clamp_min(1e-6))

    def forward(self, vectors: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Score documents.

        Args:
            vectors: float `[docs, segments, width]`.
            mask: float or int `[docs, segments]`, 1 for real segments; they come first.
            positions: float `[docs, segments, 4]`.

        Returns:
            float `[docs, labels]`, the logits.
        """
        placed = self.placed(vectors, mask, positions)
        if self.text_pair:
            first, second = (
                self._document_vector(*part) for part in split_parts(placed, mask, positions)
            )
            document = torch.cat([first, second, (first - second).abs(), first * second], dim=-1)
        else:
            document = self._document_vector(placed, mask, positions)
        return self.both_classes(self.classifier(self.dropout(document)))

    def placed(self, vectors: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Return what the aggregator reads, each segment by itself: `[docs, segments, width]`."""
        real = mask.to(vectors.dtype).unsqueeze(-1)
        standardized = (vectors - self.vector_mean) * self.vector_scale
        placed = self.place(self.normalization(standardized), positions)
        return self.dropout(placed) * real

    def both_classes(self, logits: Tensor) -> Tensor:
        """Put a zero before the only logit of a binary model, `[..., 1]`; leave others alone."""
        if self.one_logit:
            # Softmax over (0, z) is the sigmoid of z: all that follows sees two classes.
            return torch.cat([torch.zeros_like(logits), logits], dim=-1)
        return logits

    def _document_vector(self, vectors: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        aggregate = self.aggregator(vectors, mask, positions)
        return torch.cat([aggregate, first_vector(vectors)], dim=-1)


class LongTextClassifier(PreTrainedModel):
    """A classifier of documents of any length.

    Two graphs: `encode` reads segments, of whichever documents; `head` reads one document's
    segment vectors in order.
    """

    config_class = LongTextConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"

    def __init__(self, config: LongTextConfig, encoder_model: nn.Module | None = None) -> None:
        super().__init__(config)
        self.encoder: nn.Module = build_encoder(config, encoder_model)
        self.head = Head(config)
        self.encode_segments: Callable[[Encode, Tensor, Tensor], Tensor] = _encode_at_once
        """How the segments of a batch are handed to `encode`: training hands them over in pieces
        that fit the memory."""
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # transformers hands over only modules that hold parameters themselves: asked about
        # `BagEncoder` or `Place`, this would never run.
        if isinstance(module, nn.Embedding) and self.config.encoder in SCRATCH:
            if isinstance(self.encoder, BagEncoder):
                # fastText's range: the mean of many embeddings starts near zero, and a token or
                # pair that training never meets adds next to nothing.
                bound = 1.0 / module.embedding_dim
                nn.init.uniform_(module.weight, -bound, bound)
            else:
                nn.init.normal_(module.weight, std=0.1)
        elif isinstance(module, nn.LSTM | nn.GRU):
            for name, parameter in module.named_parameters():
                if name.startswith("weight_hh"):
                    nn.init.orthogonal_(parameter)
                elif name.startswith("weight_ih"):
                    nn.init.xavier_uniform_(parameter)
                else:
                    nn.init.zeros_(parameter)
        elif module is self.head.place.modulation:
            # Places start without effect; training finds how much they matter.
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode segments: int64 `[segments, tokens]` twice -> float `[segments, width]`."""
        return self.encoder(input_ids, attention_mask)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        segment_vectors: Tensor | None = None,
        segment_mask: Tensor | None = None,
        segment_positions: Tensor | None = None,
        labels: Tensor | None = None,
        linear_logits: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Score documents, from their tokens or from vectors that were encoded before.

        Args:
            input_ids: int64 `[docs, segments, tokens]`.
            attention_mask: int64 `[docs, segments, tokens]`; a segment without a token is padding.
            segment_vectors: float `[docs, segments, width]`, instead of the two above.
            segment_mask: int `[docs, segments]`; derived from `attention_mask` when absent.
            segment_positions: float `[docs, segments, 4]`; when absent, each document is taken to
                be read whole in segments of equal length.
            labels: int64 `[docs]`, or float `[docs, labels]` where a document may have several.
            linear_logits: float `[docs, labels]` of the linear model beneath, added to the head's.

        Returns:
            Logits float `[docs, labels]`, and the mean loss when labels are given.

        Raises:
            ValueError: Neither tokens nor vectors are given, or a pair without positions.
        """
        if segment_vectors is None:
            if input_ids is None:
                raise ValueError("forward needs input_ids or segment_vectors")
            if attention_mask is None:
                attention_mask = torch.ones_like(input_ids)
            if segment_mask is None:
                segment_mask = attention_mask.amax(dim=-1)
            segment_vectors = self._encode_real(input_ids, attention_mask, segment_mask)
        elif segment_mask is None:
            segment_mask = torch.ones(segment_vectors.shape[:2], device=segment_vectors.device)
        if segment_positions is None:
            if self.config.text_pair:
                raise ValueError("segment_positions must tell the two texts of a pair apart")
            segment_positions = even_positions(segment_mask)
        logits = self.head(segment_vectors, segment_mask, segment_positions)
        if linear_logits is not None:
            logits = logits + linear_logits
        loss = None
        if labels is not None:
            loss = mean_loss(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _encode_real(self, input_ids: Tensor, attention_mask: Tensor, mask: Tensor) -> Tensor:
        """Encode the real segments of all documents as one batch and put them in their places."""
        real = mask.to(torch.bool)
        encoded = self.encode_segments(self.encode, input_ids[real], attention_mask[real])
        vectors = encoded.new_zeros(*real.shape, encoded.shape[-1])
        return vectors.masked_scatter(real.unsqueeze(-1), encoded)


def _encode_at_once(encode: Encode, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    return encode(input_ids, attention_mask)


def is_binary(config: LongTextConfig) -> bool:
    """Tell whether a document has one of two labels."""
    return config.num_labels == 2 and config.problem_type == "single_label_classification"


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of class numbers int64 `[docs]`, or of flags float `[docs, n]`."""
    if labels.is_floating_point():
        return nn.functional.binary_cross_entropy_with_logits(logits, labels)
    return nn.functional.cross_entropy(logits, labels)


def load_classifier(folder: Path) -> LongTextClassifier:
    """Load the model of a bundle in fp32, without the library's bar over the weights."""
    logging.disable_progress_bar()
    return LongTextClassifier.from_pretrained(folder, dtype=torch.float32)


def even_positions(mask: Tensor) -> Tensor:
    """Return positions `[docs, segments, 4]` of documents cut into segments of equal length."""
    counts = mask.sum(dim=1, keepdim=True).clamp_min(1).to(torch.float32)
    index = torch.arange(mask.shape[1], device=mask.device, dtype=torch.float32).unsqueeze(0)
    index = index.expand(mask.shape[0], -1)
    end = ((index + 1) / counts).clamp_max(1.0)
    return torch.stack([index, index / counts, end, torch.zeros_like(index)], dim=-1)
