"""A bundle to one that knows a label more, from a few examples; what it does to the others."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from longform.bundle import ENCODER_FILE, TOKENIZER_FILE, Bundle
from longform.config import RunConfig, load_settings
from longform.data.labels import LabelMap
from longform.decision.rule import DecisionRule
from longform.errors import InputError
from longform.evaluation.metrics import headline
from longform.evaluation.regression import RegressionReport, compare_answers
from longform.export.bundles import write_bundle
from longform.export.encoders import ENCODER_NAME, EncoderExports
from longform.export.linear_bundle import write_linear_bundle
from longform.export.parity import ParityRecord
from longform.inference.linear import LinearScorer
from longform.inference.linear_model import LinearModel
from longform.inference.packing import stack_documents
from longform.inference.predictor import Predictor, windows
from longform.models import LongTextClassifier, load_classifier
from longform.reporting import Reporter
from longform.text.tokenization import TextTokenizer
from longform.training.fit import TrainedModel
from longform.training.imprinting import ImprintedRow, cross_fit, imprint, log_sum_exp
from longform.training.linear import TrainedLinear
from longform.training.linear_counts import build_matrix
from longform.types import Document, Integers

LEAST_EXAMPLES = 2
"""One makes a row, and another tells whether it finds anything."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A label added.

    Attributes:
        report: What it does to the old ones.
        parity: What the gate said of each target of the new bundle.
    """

    report: RegressionReport
    parity: dict[str, ParityRecord]


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """What the last layer reads of documents.

    Attributes:
        features: `[docs, features]`, dense or a scipy matrix.
        logits: float64 `[docs, old classes]`.
    """

    features: Any
    logits: Any


def check_addition(
    bundle: Bundle, label: str, examples: Sequence[Document], old: Sequence[Document]
) -> None:
    """Refuse what a label cannot be added to or from, before anything long begins.

    Raises:
        InputError: The model, the label or the documents do not allow it.
    """
    described = bundle.description
    if described.kind not in ("neural", "linear") or described.training.get("config", {}).get(
        "stacked"
    ):
        kind = "stacked" if described.kind == "neural" else described.kind
        raise InputError(
            "A label is added to the last layer of one model.",
            found=f"a {kind} model in {bundle.folder.name}, which consists of several",
            fix="Add it to a neural or linear bundle, or train anew with the examples.",
        )
    if described.problem_type != "single_label_classification":
        raise InputError(
            "A label can be added where a document has one label: then old documents lack it.",
            found=f"{bundle.folder.name}, where a document may have several",
            fix="Look through the old documents for the new label, and train anew.",
        )
    if label in described.labels:
        raise InputError(
            "A label to be added must be new.",
            found=f"'{label}', which {bundle.folder.name} knows already",
            fix="Train anew with the examples, or give them another label.",
        )
    if len(examples) < LEAST_EXAMPLES:
        raise InputError(
            f"A label needs at least {LEAST_EXAMPLES} examples, of which one checks the others.",
            found=f"{len(examples)} of '{label}'",
            fix="Add examples to --data.",
        )
    if len(old) < len(described.labels):
        raise InputError(
            "A new label takes documents from the old ones: how many is measured on documents of "
            "the old labels, at least one for each.",
            found=f"{len(old):,} documents for {len(described.labels):,} old labels",
            fix="Give more of them with --regression, best the ones the model was validated on.",
        )
    LabelMap(described.labels).targets(old)


def add_label(
    predictor: Predictor,
    label: str,
    examples: Sequence[Document],
    old: Sequence[Document],
    target: Path,
    *,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> Addition:
    """Write a bundle that knows one label more; encoder, head and old logits stay what they are.

    What is reported of each document is by a row that was made without it; the row of the bundle is
    made from all.

    Args:
        predictor: The bundle, opened.
        label: Name of the new label.
        examples: Documents that have it.
        old: Labelled documents of the old labels.
        target: Folder of the new bundle.
        overwrite: Replace a bundle that is there.
        reporter: Told how it goes.

    Raises:
        InputError: The model, the label or the documents do not allow it.
        ParityError: The export does not give the new model's answers.
    """
    reporter = reporter or Reporter()
    bundle = predictor.bundle
    check_addition(bundle, label, examples, old)
    named = [replace(document, label=label, labels=None) for document in examples]
    documents = [*named, *old]
    labels = LabelMap((*predictor.labels, label))
    targets = np.asarray(labels.targets(documents), dtype=np.int64)
    reporter.say(f"Reading {len(examples):,} examples and {len(old):,} documents of old labels.")
    if isinstance(predictor.scorer, LinearScorer):
        trained, report = _extend_linear(predictor, predictor.scorer, labels, documents, targets)
        parity = write_linear_bundle(
            trained, documents, target, overwrite=overwrite, reporter=reporter
        )
        return Addition(report, parity)
    extended, report = _extend_neural(predictor, labels, documents, targets, reporter)
    with tempfile.TemporaryDirectory() as work:
        # The encoder is the same: so is its export.
        for path in (bundle.folder / ENCODER_FILE).parent.glob("encoder.onnx*"):
            shutil.copyfile(path, Path(work) / path.name.replace("encoder.onnx", ENCODER_NAME))
        exports = EncoderExports(extended.model, None, Path(work))
        parity = write_bundle(
            extended, documents, exports, target, overwrite=overwrite, reporter=reporter
        )
    return Addition(report, parity)


def _judge(
    read: _Read, labels: LabelMap, documents: Sequence[Document], targets: Integers, scale: float
) -> tuple[ImprintedRow, RegressionReport, dict[str, float]]:
    """Make the row, and judge it on documents that it was not made from."""
    is_new = targets == len(labels) - 1
    # Fitted where the bundle's temperature has made the old logits comparable.
    offsets = log_sum_exp(read.logits / scale)
    classes = len(labels) - 1
    held_out = cross_fit(read.features, is_new, offsets, classes) * scale
    before = read.logits.argmax(axis=1)
    after = np.column_stack([read.logits, held_out]).argmax(axis=1)
    ids = [document.id for document in documents]
    report = compare_answers(labels.names, ids, targets, before, after)
    metrics = headline(targets, after, len(labels))
    row = imprint(read.features, is_new, offsets, classes)
    return ImprintedRow(row.weights * scale, row.bias * scale), report, metrics


def _extend_linear(
    predictor: Predictor,
    scorer: LinearScorer,
    labels: LabelMap,
    documents: Sequence[Document],
    targets: Integers,
) -> tuple[TrainedLinear, RegressionReport]:
    old = scorer.model.weights
    reader = scorer.model.reader
    weights = old.weights.astype(np.float32) * old.scales[:, np.newaxis]
    tokens = [scorer.tokenize(document) for document in documents]
    features = build_matrix(reader, old, tokens)
    logits = np.asarray(features @ weights, dtype=np.float64) + old.bias
    scale = predictor.rule.temperature
    row, report, metrics = _judge(_Read(features, logits), labels, documents, targets, scale)
    extended = replace(
        old,
        weights=np.column_stack([weights, row.weights]).astype(np.float32),
        scales=np.ones_like(old.scales),
        bias=np.append(old.bias, row.bias).astype(np.float32),
    )
    trained = TrainedLinear(
        model=LinearModel(reader, extended),
        labels=labels,
        config=_config(predictor.bundle),
        metrics=metrics,
        rule=_rule(predictor.rule, labels),
        summary=_summary(predictor.bundle, report),
    )
    return trained, report


def _extend_neural(
    predictor: Predictor,
    labels: LabelMap,
    documents: Sequence[Document],
    targets: Integers,
    reporter: Reporter,
) -> tuple[TrainedModel, RegressionReport]:
    bundle = predictor.bundle
    model = load_classifier(bundle.folder).eval()
    read = _read_head(model, predictor, documents, reporter)
    scale = predictor.rule.temperature
    row, report, metrics = _judge(read, labels, documents, targets, scale)
    _extend_head(model, row, labels)
    trained = TrainedModel(
        model=model,
        tokenizer=TextTokenizer.from_file(bundle.path(TOKENIZER_FILE)),
        labels=labels,
        config=_config(bundle),
        encoder_digest=bundle.description.encoder_digest,
        metrics=metrics,
        rule=_rule(predictor.rule, labels),
        summary=_summary(bundle, report),
    )
    return trained, report


def _read_head(
    model: LongTextClassifier,
    predictor: Predictor,
    documents: Sequence[Document],
    reporter: Reporter,
) -> _Read:
    """Encode on the bundle's backend, and run the head in torch to see what its last layer reads.

    The old logits are those of the linear layer itself, whatever a binary head makes of them.
    """
    features: list[Tensor] = []
    logits: list[Tensor] = []
    classifier: nn.Linear = model.head.classifier
    hook = classifier.register_forward_pre_hook(lambda _, given: features.append(given[0]))
    try:
        with (
            reporter.track("Encoding", len(documents)) as advance,
            torch.inference_mode(),
        ):
            for window in windows(documents):
                readings = predictor.scorer.read(window)
                for reading in readings:
                    stacked = stack_documents([reading.vectors], [reading.document.positions])
                    logits.append(model.head(*map(torch.from_numpy, stacked)))
                advance(len(window))
    finally:
        hook.remove()
    found = torch.cat(features).numpy().astype(np.float64)
    return _Read(found, torch.cat(logits).numpy().astype(np.float64))


def _extend_head(model: LongTextClassifier, row: ImprintedRow, labels: LabelMap) -> None:
    head, before = model.head, model.head.classifier
    weight, bias = before.weight.detach(), before.bias.detach()
    if head.one_logit:
        # Two labels by one logit are two rows, of which the first is nothing.
        weight = torch.cat([torch.zeros_like(weight), weight])
        bias = torch.cat([torch.zeros_like(bias), bias])
        head.one_logit = False
        model.config.binary_logits = 2
    new = torch.from_numpy(row.weights).to(weight.dtype)
    after = nn.Linear(weight.shape[1], len(labels))
    with torch.no_grad():
        after.weight.copy_(torch.cat([weight, new.unsqueeze(0)]))
        after.bias.copy_(torch.cat([bias, torch.tensor([row.bias], dtype=bias.dtype)]))
    head.classifier = after
    model.config.id2label = dict(enumerate(labels.names))
    model.config.label2id = labels.label2id


def _config(bundle: Bundle) -> RunConfig:
    """Return the run that the bundle came from, but for what is not so with one label more."""
    values = {**bundle.description.training["config"], "binary_logits": 2}
    return load_settings(RunConfig, None, values)


def _rule(rule: DecisionRule, labels: LabelMap) -> DecisionRule:
    # Label sets, abstaining and costs were tested without the new label: they do not hold with it.
    return DecisionRule(labels.names, rule.problem_type, rule.temperature)


def _summary(bundle: Bundle, report: RegressionReport) -> dict[str, Any]:
    kept = {name: value for name, value in bundle.description.training.items() if name != "config"}
    added = {
        "label": report.new_label,
        "examples": report.examples,
        "recall": round(report.recall, 4),
        "accuracy_of_old_labels": [
            round(report.accuracy_before, 4),
            round(report.accuracy_after, 4),
        ],
        "from": bundle.digest,
    }
    return {**kept, "added_labels": [*kept.get("added_labels", []), added]}
