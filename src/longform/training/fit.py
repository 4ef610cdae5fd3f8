"""A training run, all its pieces built in sequence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from torch import nn

from longform.backends.base import Backend
from longform.backends.torch import TorchBackend
from longform.config import RunConfig
from longform.data.labels import LabelMap
from longform.decision.rule import DecisionRule
from longform.models import LongTextClassifier
from longform.reporting import Reporter
from longform.text.documents import segment_documents
from longform.text.segmenter import Segmenter
from longform.text.tokenization import TextTokenizer
from longform.training.adapters import add_adapters, merge_adapters
from longform.training.arguments import kind_of_training, trains_pretrained
from longform.training.attention import training_attention
from longform.training.devices import Device, pick_device
from longform.training.features import (
    SegmentCollator,
    SegmentDataset,
    VectorDataset,
    collate_vectors,
)
from longform.training.initialization import initialize, weights_digest
from longform.training.lessons import Distillation, Lesson
from longform.training.trainer import HeadModel, LongTextTrainer, Validation
from longform.training.vectors import VectorStore, default_cache_folder
from longform.types import Document, SegmentedDocument, Targets

_SEGMENTS_PER_STEP = 8
"""Segments drawn per document and step when a pretrained encoder is fine-tuned."""


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What training leaves: everything that a bundle is made of.

    Attributes:
        model: In evaluation mode, on the CPU, with its best weights.
        tokenizer: The encoder's tokenizer.
        labels: The classes.
        config: The run, as it was resolved.
        encoder_digest: SHA-256 of the encoder's weights.
        metrics: Of the validation documents: accuracy and macro-F1.
        rule: How labels are decided from logits.
        summary: What training did: documents, coverage, steps, seconds.
    """

    model: LongTextClassifier
    tokenizer: TextTokenizer
    labels: LabelMap
    config: RunConfig
    encoder_digest: str
    metrics: dict[str, float]
    rule: DecisionRule
    summary: dict[str, Any] = field(default_factory=dict)


_STANDARDIZED_DOCUMENTS = 2_000
"""Documents that the mean and the deviation of a frozen encoder's vectors are taken from."""

OpenEncoder = Callable[[LongTextClassifier, str, str], Backend]


@dataclass(frozen=True, slots=True)
class _Part:
    """Training or validation documents, segmented, with their class numbers."""

    documents: list[SegmentedDocument]
    labels: Targets
    ids: list[str]


def fit(
    config: RunConfig,
    train: Sequence[Document],
    validation: Sequence[Document],
    folder: Path,
    reporter: Reporter | None = None,
    open_encoder: OpenEncoder | None = None,
    callbacks: Sequence[transformers.TrainerCallback] = (),
    distillation: Distillation | None = None,
) -> TrainedModel:
    """Train a classifier.

    Args:
        config: The run.
        train: Labelled documents to learn from.
        validation: Labelled documents that choose the best epoch; no label is new in them.
        folder: For checkpoints; a run found there is continued.
        reporter: Told what was decided and how it goes.
        open_encoder: Opens the encoder of a frozen run, given model, digest and precision.
        callbacks: Further callbacks of the Trainer.
        distillation: A teacher to learn from beside the labels.

    Raises:
        InputError: The documents or the encoder cannot be trained on.
        ConfigError: Settings that do not fit each other, the encoder or the device.
        TrainingError: Training cannot go on.
        SystemExit: A signal ended it; a checkpoint was kept.
    """
    reporter = reporter or Reporter()
    started = time.perf_counter()
    _prepare_transformers(config.seed)
    labels = LabelMap.from_documents(train)
    held_out = labels.targets(validation)
    learnt = [*train, *_unlabelled(distillation, labels, config)]
    device = pick_device(reporter, config.device)
    model, tokenizer = initialize(config, labels, _texts(learnt), reporter)
    add_adapters(model, config, reporter)
    segmenter = Segmenter(tokenizer, config.segment_settings())
    pairs = ((learnt, labels.pad(labels.targets(train), len(learnt))), (validation, held_out))
    parts = [_segment(segmenter, *pair, reporter) for pair in pairs]
    coverage = _coverage(parts[0].documents)
    reporter.say(_describe(coverage, len(learnt), len(validation), len(labels)))
    lesson = _lesson(distillation, train, labels, model, reporter)
    run = _Run(model, config, segmenter, folder, device, reporter, tuple(callbacks), lesson)
    trainer, judged = run.finished(parts, open_encoder)
    summary = run.account(trainer, len(train), len(validation), coverage)
    summary["seconds"] = round(time.perf_counter() - started, 1)
    if distillation is not None:
        held = distillation.account(validation, labels, judged.metrics, model, reporter)
        summary["distillation"] = held
    return TrainedModel(
        model=model.cpu().eval(),
        tokenizer=tokenizer,
        labels=labels,
        config=config,
        encoder_digest=weights_digest(model.encoder),
        metrics=judged.metrics,
        rule=_rule(labels, judged),
        summary=summary,
    )


def _unlabelled(
    distillation: Distillation | None, labels: LabelMap, config: RunConfig
) -> tuple[Document, ...]:
    if distillation is None:
        return ()
    distillation.check(labels, config)
    return distillation.unlabelled


def _lesson(
    distillation: Distillation | None,
    train: Sequence[Document],
    labels: LabelMap,
    model: LongTextClassifier,
    reporter: Reporter,
) -> Lesson | None:
    if distillation is None:
        return None
    return distillation.lesson(train, labels.targets(train), labels, model, reporter)


def _texts(documents: Sequence[Document]) -> Iterator[str]:
    for document in documents:
        yield document.text
        if document.text_pair is not None:
            yield document.text_pair


def _rule(labels: LabelMap, validation: Validation) -> DecisionRule:
    thresholds = validation.thresholds if validation.thresholds is not None else ()
    return DecisionRule(
        labels.names,
        labels.problem_type,
        thresholds={
            name: round(float(least), 6)
            for name, least in zip(labels.names, thresholds, strict=False)
        },
    )


def _prepare_transformers(seed: int) -> None:
    """Seed everything, and keep bars and notices of the library off the user's screen."""
    transformers.set_seed(seed)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def _segment(
    segmenter: Segmenter,
    documents: Sequence[Document],
    labels: Targets,
    reporter: Reporter,
) -> _Part:
    # All documents are alike in this: `segment_documents` refuses one that is not.
    pairs = bool(documents) and documents[0].text_pair is not None
    segmented = []
    with reporter.track("Segmenting", len(documents)) as advance:
        for result in segment_documents(segmenter, documents, pairs=pairs):
            segmented.append(result)
            advance(1)
    return _Part(segmented, labels, [document.id for document in documents])


@dataclass(frozen=True, slots=True)
class _Run:
    """What the ways to train have in common."""

    model: LongTextClassifier
    config: RunConfig
    segmenter: Segmenter
    folder: Path
    device: Device
    reporter: Reporter
    callbacks: tuple[transformers.TrainerCallback, ...]
    lesson: Lesson | None = None

    def account(
        self, trainer: LongTextTrainer, train: int, validation: int, coverage: dict[str, Any]
    ) -> dict[str, Any]:
        """Return what the run was like."""
        return {
            "documents": train,
            "validation_documents": validation,
            "coverage": coverage,
            "kind": kind_of_training(self.config),
            "device": self.device.name,
            "device_reason": self.device.reason,
            **trainer.account(),
        }

    def finished(
        self, parts: list[_Part], open_encoder: OpenEncoder | None
    ) -> tuple[LongTextTrainer, Validation]:
        """Train and judge."""
        lesson = self.lesson
        with nullcontext() if lesson is None else lesson.given_to(self.model.head):
            frozen = self.config.frozen
            trainer = self.frozen(parts, open_encoder) if frozen else self.trained(parts)
            with training_attention(
                self.model,
                self.device.name,
                self.config.segment_length,
                self.config.attention_dropout,
            ):
                trainer.fit()
            merge_adapters(self.model)
            return trainer, trainer.validate()

    def trained(self, parts: list[_Part]) -> LongTextTrainer:
        """Train encoder and head together, on tokens."""
        limit = self.config.max_train_segments
        if limit is None and not self.config.two_pass and trains_pretrained(self.config):
            limit = _SEGMENTS_PER_STEP
            self.reporter.say(
                f"Each step draws {limit} segments of a document (max_train_segments); "
                "validation and serving read all."
            )
        train, validation = parts
        return self._trainer(
            self.model,
            train,
            train_dataset=SegmentDataset(train.documents, train.labels, limit, self.config.seed),
            eval_dataset=SegmentDataset(validation.documents, validation.labels),
            data_collator=SegmentCollator(self.segmenter.tokenizer.pad_id),
        )

    def frozen(self, parts: list[_Part], open_encoder: OpenEncoder | None) -> LongTextTrainer:
        """Train the head alone, on vectors that are encoded once or found from an earlier run."""
        precision: Literal["fp32", "bf16"] = "bf16" if self.device.bf16 else "fp32"
        digest = weights_digest(self.model.encoder)
        backend = (
            open_encoder(self.model, digest, precision)
            if open_encoder is not None
            else TorchBackend(self.model, precision, self.device.name)
        )
        # The prefix is part of the token ids, which each vector is found by.
        key = [digest, self.model.config.token_pooling, backend.info.precision]
        width, budget = backend.info.vector_size, backend.token_budget
        with VectorStore(default_cache_folder(), key, width, budget) as store:
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
        sample = vectors[0][:: max(1, len(vectors[0]) // _STANDARDIZED_DOCUMENTS)]
        joined = torch.from_numpy(np.concatenate(sample))
        self.model.head.standardize(joined.mean(dim=0), joined.std(dim=0))
        train, validation = (
            VectorDataset(rows, [document.positions for document in part.documents], part.labels)
            for rows, part in zip(vectors, parts, strict=True)
        )
        return self._trainer(
            HeadModel(self.model.head),
            parts[0],
            train_dataset=train,
            eval_dataset=validation,
            data_collator=collate_vectors,
        )

    def _trainer(self, model: nn.Module, train: _Part, **kwargs: Any) -> LongTextTrainer:
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


def _coverage(documents: Sequence[SegmentedDocument]) -> dict[str, Any]:
    total = np.array([document.coverage.tokens_total for document in documents])
    used = np.array([document.coverage.tokens_used for document in documents])
    segments = sum(document.coverage.segments_used for document in documents)
    return {
        "tokens_total": int(total.sum()),
        "tokens_used": int(used.sum()),
        "share": round(float(used.sum() / max(total.sum(), 1)), 6),
        "segments_used": segments,
        "truncated_documents": int(sum(document.coverage.truncated for document in documents)),
        "median_tokens": int(np.median(total)),
        "longest_tokens": int(total.max()),
    }


def _describe(coverage: dict[str, Any], train: int, validation: int, classes: int) -> str:
    text = (
        f"{train:,} documents to train on and {validation:,} to validate on, {classes} classes; "
        f"median {coverage['median_tokens']:,} tokens, longest {coverage['longest_tokens']:,}; "
        f"{coverage['segments_used']:,} segments; "
        f"{100 * coverage['share']:.1f} % of all tokens are read"
    )
    if coverage["truncated_documents"]:
        text += f" ({coverage['truncated_documents']:,} documents are not read whole)"
    return text + "."
