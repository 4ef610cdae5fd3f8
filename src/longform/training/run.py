"""The ways to train: encoder and head on tokens, or the head alone on kept vectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import TrainerCallback

from longform.backends.base import Backend
from longform.backends.torch import TorchBackend
from longform.config import STATIC, RunConfig
from longform.models import LongTextClassifier
from longform.models.fake_quantization import QuantizedLayer
from longform.reporting import Reporter
from longform.text.segmenter import Segmenter
from longform.training.adapters import merge_adapters
from longform.training.arguments import trains_pretrained
from longform.training.attention import suited_encoder
from longform.training.devices import Device
from longform.training.features import (
    SegmentCollator,
    SegmentDataset,
    VectorDataset,
    collate_vectors,
)
from longform.training.initialization import weights_digest
from longform.training.judging import Validation
from longform.training.lessons import Lesson
from longform.training.observation import ENCODING, PREPARING
from longform.training.quantization import settle_quantization
from longform.training.static_vectors import settle_static
from longform.training.trainer import HeadModel, LongTextTrainer
from longform.training.vectors import open_vectors
from longform.types import Floats, SegmentedDocument, Targets

SEGMENTS_PER_STEP = 8
"""Segments drawn per document and step when a pretrained encoder is fine-tuned."""
_STANDARDIZED_DOCUMENTS = 2_000
"""Documents that the mean and the deviation of a frozen encoder's vectors are taken from."""

OpenEncoder = Callable[[LongTextClassifier, str, str], Backend]


@dataclass(frozen=True, slots=True)
class Part:
    """Training or validation documents, segmented, with their class numbers and ids.

    Attributes:
        linear_logits: float32 `[docs, classes]` of the linear model beneath; None without one.
    """

    documents: Sequence[SegmentedDocument]
    labels: Targets
    ids: list[str]
    linear_logits: Floats | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        trainer: Which trained.
        validation: What the validation documents say.
        rounding: After quantisation-aware training, how int8 rounds each layer of the encoder.
    """

    trainer: LongTextTrainer
    validation: Validation
    rounding: dict[str, QuantizedLayer]


@dataclass(frozen=True, slots=True)
class Run:
    """What the ways to train have in common."""

    model: LongTextClassifier
    config: RunConfig
    segmenter: Segmenter
    folder: Path
    device: Device
    reporter: Reporter
    callbacks: tuple[TrainerCallback, ...]
    lesson: Lesson | None
    started: float

    def finish(self, parts: list[Part], open_encoder: OpenEncoder | None) -> Outcome:
        """Train, and judge what came of it.

        Args:
            parts: Training and validation documents.
            open_encoder: Opens what encodes for a frozen run; None takes torch.
        """
        config, lesson = self.config, self.lesson
        with nullcontext() if lesson is None else lesson.given_to(self.model.head):
            if config.encoder == STATIC:
                settle_static(self.model, parts[0].documents, self.segmenter.tokenizer)
            trainer = self.frozen(parts, open_encoder) if config.frozen else self.trained(parts)
            encoding = trainer.watch.seconds.get(ENCODING, 0.0)
            trainer.watch.add(PREPARING, time.perf_counter() - self.started - encoding)
            with suited_encoder(self.model, self.device.name, config):
                trainer.fit()
            merge_adapters(self.model)
            # Judged as the reference that every export is compared with: in floating point.
            rounding = settle_quantization(self.model) if config.quantization_aware else {}
            return Outcome(trainer, trainer.validate(), rounding)

    def trained(self, parts: list[Part]) -> LongTextTrainer:
        """Train encoder and head together, on tokens."""
        limit = self.config.max_train_segments
        # `concat` has a place for each segment, which a drawn one would not be in.
        draws = not self.config.two_pass and self.config.aggregator != "concat"
        if limit is None and draws and trains_pretrained(self.config):
            limit = SEGMENTS_PER_STEP
            self.reporter.say(
                f"Each step reads {limit} segments of a document, the first and others drawn anew "
                "(max_train_segments); validation and serving read all."
            )
        train, validation = parts
        return self._trainer(
            self.model,
            train,
            train_dataset=SegmentDataset(
                train.documents, train.labels, limit, self.config.seed, train.linear_logits
            ),
            eval_dataset=SegmentDataset(
                validation.documents, validation.labels, linear_logits=validation.linear_logits
            ),
            data_collator=SegmentCollator(self.segmenter.tokenizer.pad_id),
        )

    def frozen(self, parts: list[Part], open_encoder: OpenEncoder | None) -> LongTextTrainer:
        """Train the head alone, on vectors that are encoded once or found from an earlier run."""
        precision: Literal["fp32", "bf16"] = "bf16" if self.device.bf16 else "fp32"
        digest = weights_digest(self.model.encoder)
        backend = (
            open_encoder(self.model, digest, precision)
            if open_encoder is not None
            else TorchBackend(self.model, precision, self.device.name)
        )
        with open_vectors(self.model, digest, backend) as store:
            known = len(store)
            pad_id = self.segmenter.tokenizer.pad_id
            vectors = [
                store.vectors(part.documents, backend.encode, pad_id, self.reporter)
                for part in parts
            ]
            self.reporter.say(
                f"Segment vectors ({backend.info}): {len(store) - known:,} encoded now, "
                f"{known:,} found in the cache."
            )
            encoding = store.encoding_seconds
        sample = vectors[0][:: max(1, len(vectors[0]) // _STANDARDIZED_DOCUMENTS)]
        joined = torch.from_numpy(np.concatenate(sample))
        self.model.head.standardize(joined.mean(dim=0), joined.std(dim=0))
        train, validation = (
            VectorDataset(
                rows,
                [document.positions for document in part.documents],
                part.labels,
                part.linear_logits,
            )
            for rows, part in zip(vectors, parts, strict=True)
        )
        trainer = self._trainer(
            HeadModel(self.model.head),
            parts[0],
            train_dataset=train,
            eval_dataset=validation,
            data_collator=collate_vectors,
        )
        trainer.watch.add(ENCODING, encoding)
        return trainer

    def _trainer(self, model: nn.Module, train: Part, **kwargs: Any) -> LongTextTrainer:
        if self.lesson is not None:
            kwargs["train_dataset"] = self.lesson.dataset(kwargs["train_dataset"])
            kwargs["soften"] = self.lesson.soften
        return LongTextTrainer(
            model,
            self.config,
            self.folder,
            self.device,
            self.reporter,
            document_ids=train.ids,
            callbacks=self.callbacks,
            **kwargs,
        )
