"""A training run, all its pieces built in sequence."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from longform.config import RunConfig
from longform.data.labels import LabelMap
from longform.decision.rule import DecisionRule
from longform.decision.sketch import Sketch
from longform.errors import InputError
from longform.inference.linear import LinearScorer
from longform.inference.scorer import Scores
from longform.models import LongTextClassifier
from longform.models.fake_quantization import QuantizedLayer
from longform.reporting import Reporter
from longform.text.documents import segment_documents
from longform.text.segmenter import Segmenter
from longform.text.tokenization import TextTokenizer
from longform.training.adapters import add_adapters
from longform.training.arguments import kind_of_training
from longform.training.devices import Device, pick_device
from longform.training.initialization import initialize, weights_digest
from longform.training.judging import Validation
from longform.training.lessons import Distillation, Lesson
from longform.training.nodes import require_same_start, together
from longform.training.processes import everyone, rank_here
from longform.training.quantization import start_quantization
from longform.training.run import OpenEncoder, Outcome, Part, Run
from longform.training.shared_segments import share_shards, write_shard
from longform.training.stacking import Stack, fit_stack
from longform.types import Document, SegmentedDocument, Targets


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
        rounding: After quantisation-aware training, how int8 rounds each layer of the encoder.
        history: The log, with the entries from before a resumption.
        validation: What the model made of the validation documents, in their order.
        linear: The linear model beneath; None where there is none.
    """

    model: LongTextClassifier
    tokenizer: TextTokenizer
    labels: LabelMap
    config: RunConfig
    encoder_digest: str
    metrics: dict[str, float]
    rule: DecisionRule
    summary: dict[str, Any] = field(default_factory=dict)
    rounding: dict[str, QuantizedLayer] = field(default_factory=dict)
    history: tuple[dict[str, float], ...] = ()
    validation: Scores | None = None
    linear: LinearScorer | None = None


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
        open_encoder: Opens a frozen encoder, by model, digest and precision; None takes torch.
        callbacks: Further callbacks of the Trainer.
        distillation: A teacher to learn from beside the labels.

    Raises:
        InputError: Documents, encoder, settings and device do not fit each other.
        TrainingError: Training cannot go on.
        SystemExit: A signal ended it; a checkpoint was kept.
    """
    reporter, started = reporter or Reporter(), time.perf_counter()
    _prepare_transformers(config.seed)
    device, labels = pick_device(reporter, config.device), LabelMap.from_documents(train)
    held_out = labels.targets(validation)
    learnt = [*train, *_unlabelled(distillation, labels, config)]
    model, tokenizer = initialize(config, labels, _texts(learnt), reporter)
    watching = (*callbacks, *_adapt(model, config, reporter))
    segmenter = Segmenter(tokenizer, config.segment_settings())
    config, stack = _stack(config, (train, validation), labels, distillation, reporter)
    pairs = ((learnt, labels.pad(labels.targets(train), len(learnt))), (validation, held_out))
    parts = _add_linear(_segment_parts(model, segmenter, pairs, folder, reporter), stack)
    coverage = _cover(parts, len(labels), reporter)
    lesson = _lesson(distillation, train, labels, model, reporter)
    run = Run(model, config, segmenter, folder, device, reporter, watching, lesson, started)
    outcome = run.finish(parts, open_encoder)
    judged = outcome.validation
    summary = _summarize(config, device, (len(train), len(validation)), outcome, started)
    summary |= {"coverage": coverage, "sketch": _sketch(labels, judged, parts[1])}
    summary |= _account(distillation, validation, labels, judged, model, reporter)
    return TrainedModel(
        model=model.cpu().eval(),
        tokenizer=tokenizer,
        labels=labels,
        config=config,
        encoder_digest=weights_digest(model.encoder),
        metrics=judged.metrics,
        rule=_rule(labels, judged),
        summary=summary,
        rounding=outcome.rounding,
        history=tuple(outcome.trainer.state.log_history),
        validation=_scores(judged, parts[1]),
        linear=None if stack is None else stack.scorer,
    )


def _account(
    distillation: Distillation | None,
    validation: Sequence[Document],
    labels: LabelMap,
    judged: Validation,
    model: LongTextClassifier,
    reporter: Reporter,
) -> dict[str, Any]:
    if distillation is None:
        return {}
    told = distillation.account(validation, labels, judged.metrics, model, reporter)
    return {"distillation": told}


def _add_linear(parts: list[Part], stack: Stack | None) -> list[Part]:
    if stack is None:
        return parts
    logits = (stack.train, stack.validation)
    return [replace(part, linear_logits=own) for part, own in zip(parts, logits, strict=True)]


def _stack(
    config: RunConfig,
    documents: tuple[Sequence[Document], Sequence[Document]],
    labels: LabelMap,
    distillation: Distillation | None,
    reporter: Reporter,
) -> tuple[RunConfig, Stack | None]:
    """Fit the linear model beneath, where one is asked for; return the run as it was resolved."""
    if not config.stacked:
        return config, None
    if distillation is not None:
        raise InputError(
            "A student learns from its teacher alone, without a linear model beneath.",
            found="stacked: true in a distillation",
            fix="Set stacked to false; a stacked bundle may well be the teacher.",
        )
    stack = fit_stack(config, *documents, labels, reporter)
    return stack.config, stack


def _adapt(
    model: LongTextClassifier, config: RunConfig, reporter: Reporter
) -> tuple[transformers.TrainerCallback, ...]:
    """Prepare the encoder for what is trained of it."""
    add_adapters(model, config, reporter)
    return (start_quantization(model, reporter),) if config.quantization_aware else ()


def _summarize(
    config: RunConfig,
    device: Device,
    documents: tuple[int, int],
    outcome: Outcome,
    started: float,
) -> dict[str, Any]:
    return {
        "documents": documents[0],
        "validation_documents": documents[1],
        "kind": kind_of_training(config),
        "device": device.name,
        "device_reason": device.reason,
        "seconds": round(time.perf_counter() - started, 1),
        **outcome.trainer.account(),
    }


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


def _scores(judged: Validation, part: Part) -> Scores:
    coverage = tuple(document.coverage for document in part.documents)
    return Scores(judged.logits, coverage, infer_seconds=judged.seconds)


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


def _segment_parts(
    model: LongTextClassifier,
    segmenter: Segmenter,
    pairs: Sequence[tuple[Sequence[Document], Targets]],
    folder: Path,
    reporter: Reporter,
) -> list[Part]:
    if len(everyone(None)) > 1:
        require_same_start(weights_digest(model.encoder), segmenter.tokenizer.digest)
    shards = folder.parent / "segments"
    return [
        _segment(segmenter, *pair, shards / name, reporter)
        for name, pair in zip(("train", "validation"), pairs, strict=True)
    ]


def _segment(
    segmenter: Segmenter,
    documents: Sequence[Document],
    labels: Targets,
    folder: Path,
    reporter: Reporter,
) -> Part:
    """Segment documents; of several processes each segments its share, and all read all."""
    # All documents are alike in this: `segment_documents` refuses one that is not.
    pairs = bool(documents) and documents[0].text_pair is not None
    processes = len(everyone(None))
    share = documents[rank_here() :: processes]

    def cut() -> Iterator[SegmentedDocument]:
        with reporter.track("Segmenting", len(share)) as advance:
            for result in segment_documents(segmenter, share, pairs=pairs):
                yield result
                advance(1)

    segmented: Sequence[SegmentedDocument]
    if processes == 1:
        segmented = list(cut())
    else:
        together(lambda: write_shard(cut(), folder / str(rank_here())))
        segmented = share_shards(folder)
    return Part(segmented, labels, [document.id for document in documents])


def _sketch(labels: LabelMap, judged: Validation, part: Part) -> dict[str, Any]:
    """Sketch the validation documents, for a server to see whether later ones are like them."""
    rule, tokens = _rule(labels, judged), [item.coverage.tokens_total for item in part.documents]
    sketch = Sketch.of_answers(rule.labels, tokens, rule.probabilities(judged.logits))
    return sketch.as_json()


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


def _cover(parts: Sequence[Part], classes: int, reporter: Reporter) -> dict[str, Any]:
    """Say how much of the documents is read, and return it."""
    train, validation = (len(part.documents) for part in parts)
    coverage = _coverage(parts[0].documents)
    reporter.say(_describe(coverage, train, validation, classes))
    return coverage


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
