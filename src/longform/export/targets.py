"""`longform export`: further targets for a bundle, each through the gate, or nothing at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from longform.backends.torch import TorchBackend
from longform.bundle import MODEL_CARD_FILE, PARITY_FILE, SHAPES_FILE, Bundle, extending_bundle
from longform.decision.rule import DecisionRule
from longform.errors import InputError
from longform.export.ascend.target import make_ascend
from longform.export.context import ExportContext, write_parity
from longform.export.encoders import EncoderExports
from longform.export.modelcard import model_card
from longform.export.options import ExportOptions
from longform.export.parity import ParityCheck, ParityRecord, choose_documents, require_parity
from longform.export.plans import plan_documents
from longform.export.reduced_onnx import (
    make_fp16,
    make_int8,
    make_int8_dynamic,
    make_int8_static,
)
from longform.export.runtime_targets import make_onnx, make_openvino, make_openvino_static
from longform.export.tensorrt import make_tensorrt
from longform.export.torch_packages import make_torch, make_torchscript
from longform.inference.linear import open_stacked
from longform.inference.neural import NeuralScorer
from longform.models import LongTextClassifier, load_classifier
from longform.reporting import Reporter
from longform.shapes import ShapePlan, read_plan
from longform.text.segmenter import Segmenter
from longform.text.tokenization import TextTokenizer
from longform.types import Document

TARGETS: dict[str, Callable[[ExportContext], None]] = {
    "onnx": make_onnx,
    "onnx-fp16": make_fp16,
    "int8": make_int8,
    "int8-dynamic": make_int8_dynamic,
    "int8-static": make_int8_static,
    "openvino": make_openvino,
    "openvino-static": make_openvino_static,
    "tensorrt": make_tensorrt,
    "torch": make_torch,
    "torchscript": make_torchscript,
    "ascend": make_ascend,
}
"""What makes a target: writes its files into the staging folder, lets the gate judge each, and
removes those that it refused."""


def export_targets(
    bundle: Bundle,
    place: Path,
    targets: Sequence[str],
    documents: Sequence[Document],
    options: ExportOptions,
    reporter: Reporter,
) -> dict[str, ParityRecord]:
    """Add targets to a bundle, or leave it as it was.

    Args:
        bundle: The verified bundle.
        place: The path that it was loaded from.
        targets: Names of `TARGETS`.
        documents: Labelled documents, not those that the model was trained on: the gate compares
            on the first of them, and static quantisation calibrates on others.
        options: What the user said.
        reporter: Told how it goes.

    Returns:
        What the gate said of each file or precision that was made.

    Raises:
        ParityError: The gate refused all that a target consists of.
        InputError: A target is unknown, or a document lacks a label.
        MissingExtraError: A library of a target is not installed.
    """
    _check_names(targets)
    _require_encoder(bundle)
    model = load_classifier(bundle.folder).eval()
    tokenizer = TextTokenizer.from_file(bundle.path("tokenizer.json"))
    segmenter = Segmenter(tokenizer, bundle.description.knobs.segments)
    with extending_bundle(bundle, place) as folder, tempfile.TemporaryDirectory() as work:
        plan = _plan(bundle, folder, model, segmenter, documents, replan=options.replan)
        compared = choose_documents(documents, segmenter, options.parity_documents)
        reporter.say(f"Comparing with the trained model on {len(compared)} documents.")
        pairs, linear = bundle.description.text_pair, open_stacked(bundle)
        rule = DecisionRule.from_description(bundle.description)
        reference = NeuralScorer(segmenter, TorchBackend(model), pairs=pairs, linear=linear)
        context = ExportContext(
            folder=folder,
            model=model,
            segmenter=segmenter,
            pairs=pairs,
            plan=plan,
            check=ParityCheck(reference, compared, rule, options.allow_drop),
            documents=documents[len(compared) :] or documents,
            exports=EncoderExports(model, None, Path(work)),
            reporter=reporter,
            options=options,
            linear=linear,
            earlier=_verdicts(folder),
        )
        for name in targets:
            _make(name, context)
        _write_records(bundle, folder, place.name, context.records)
    return context.records


def _make(name: str, context: ExportContext) -> None:
    """Make one target; what the gate refused is gone, and a target of which nothing is left."""
    context.reporter.say(f"Making {name}.")
    before = set(context.records)
    TARGETS[name](context)
    made = [record for key, record in context.records.items() if key not in before]
    if made and not any(record.passed for record in made):
        require_parity(made[0])


def _plan(
    bundle: Bundle,
    folder: Path,
    model: LongTextClassifier,
    segmenter: Segmenter,
    documents: Sequence[Document],
    *,
    replan: bool,
) -> ShapePlan:
    if bundle.has(SHAPES_FILE) and not replan:
        return read_plan(bundle.path(SHAPES_FILE).read_text(encoding="utf-8"))
    pairs = bundle.description.text_pair
    plan = plan_documents(model, segmenter, documents, pairs=pairs)
    (folder / SHAPES_FILE).write_text(plan.as_json(), encoding="utf-8")
    return plan


def _require_encoder(bundle: Bundle) -> None:
    if bundle.description.kind != "neural":
        raise InputError(
            "Only a model with an encoder has other runtimes to be exported to.",
            found=f"a {bundle.description.kind} model in {bundle.folder.name}",
            fix="Serve the bundle as it is; stages are exported before they become a cascade.",
        )


def _check_names(targets: Sequence[str]) -> None:
    unknown = [name for name in targets if name not in TARGETS]
    if unknown or not targets:
        raise InputError(
            "A target must be one that longform makes.",
            found=", ".join(f"'{name}'" for name in unknown) or "none",
            fix=f"Choose of {', '.join(TARGETS)}.",
        )


def _verdicts(folder: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((folder / PARITY_FILE).read_text(encoding="utf-8"))
    targets: dict[str, dict[str, Any]] = content["targets"]
    return targets


def _write_records(
    bundle: Bundle, folder: Path, name: str, records: Mapping[str, ParityRecord]
) -> None:
    """Put the verdicts beside those of earlier targets."""
    verdicts = _verdicts(folder) | {key: record.as_dict() for key, record in records.items()}
    write_parity(folder, verdicts)
    card = model_card(name, bundle.description, verdicts)
    (folder / MODEL_CARD_FILE).write_text(card, encoding="utf-8")
