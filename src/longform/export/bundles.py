"""A trained model to a bundle: exported, compared with the reference, described, saved whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longform import __version__
from longform.backends.base import Backend
from longform.backends.choice import INT8_ENCODER, machine_name
from longform.backends.onnx import OnnxBackend
from longform.backends.openvino import OpenVINOBackend
from longform.backends.torch import TorchBackend
from longform.bundle import (
    BundleDescription,
    Knobs,
    file_digest,
    number_labels,
    write_description,
    writing_bundle,
)
from longform.config import ModelSettings
from longform.export.encoders import EncoderExports, can_quantize
from longform.export.modelcard import model_card
from longform.export.onnx import export_head
from longform.export.parity import (
    ParityCheck,
    ParityRecord,
    choose_documents,
    require_parity,
)
from longform.extras import is_available
from longform.inference.golden import make_golden, write_golden
from longform.inference.neural import NeuralScorer
from longform.reporting import Reporter
from longform.text.segmenter import SEGMENTER_VERSION, Segmenter
from longform.training.fit import TrainedModel
from longform.types import Document


@dataclass(frozen=True, slots=True)
class _Staging:
    """A bundle in the making."""

    folder: Path
    trained: TrainedModel
    segmenter: Segmenter

    def scorer(self, backend: Backend) -> NeuralScorer:
        pairs = self.trained.config.text_pair_column is not None
        return NeuralScorer(self.segmenter, backend, pairs=pairs)

    @property
    def encoder(self) -> Path:
        return self.folder / "onnx" / "encoder.onnx"

    @property
    def head(self) -> Path:
        return self.folder / "onnx" / "head.onnx"

    @property
    def int8_encoder(self) -> Path:
        return self.folder / INT8_ENCODER


def write_bundle(
    trained: TrainedModel,
    validation: Sequence[Document],
    exports: EncoderExports,
    target: Path,
    *,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, ParityRecord]:
    """Export a trained model and save it as a bundle, or leave the target as it was.

    Args:
        trained: The model.
        validation: Labelled documents that the parity gate reads.
        exports: Where the encoder's exported files are, or are made.
        target: The bundle's folder.
        overwrite: Replace a bundle that is there.
        reporter: Told how it goes.

    Returns:
        The parity record of each target.

    Raises:
        ParityError: The ONNX export does not give the trained model's answers.
        InputError: The target cannot be written.
    """
    reporter = reporter or Reporter()
    settings = trained.config.segment_settings()
    segmenter = Segmenter(trained.tokenizer, settings)
    with writing_bundle(target, overwrite=overwrite) as folder:
        staging = _Staging(folder, trained, segmenter)
        reporter.say("Exporting to ONNX.")
        _write_model(staging, exports)
        documents = choose_documents(validation, segmenter, trained.config.parity_documents)
        reporter.say(f"Comparing the exports with the trained model on {len(documents)} documents.")
        records = _compare(staging, documents)
        for record in records.values():
            reporter.say(_describe(record))
        _write_json(
            folder / "parity.json",
            {
                "reference": "torch:fp32",
                "machine": machine_name(),
                "targets": {name: record.as_dict() for name, record in records.items()},
            },
        )
        reference = staging.scorer(TorchBackend(trained.model))
        write_golden(folder / "golden.jsonl", make_golden(reference))
        description = _description(staging)
        write_description(folder, description)
        card = model_card(target.name, description, records)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return records


def _write_model(staging: _Staging, exports: EncoderExports) -> None:
    trained = staging.trained
    trained.model.save_pretrained(staging.folder)
    (staging.folder / "tokenizer.json").write_text(trained.tokenizer.serialized, encoding="utf-8")
    staging.encoder.parent.mkdir()
    source = exports.onnx()
    for path in source.parent.glob(f"{source.name}*"):
        shutil.copyfile(path, staging.encoder.parent / path.name)
    export_head(trained.model, staging.head)
    if can_quantize(trained.model):
        staging.int8_encoder.parent.mkdir()
        source = exports.int8()
        for suffix in (".xml", ".bin"):
            shutil.copyfile(source.with_suffix(suffix), staging.int8_encoder.with_suffix(suffix))


def _compare(staging: _Staging, documents: Sequence[Document]) -> dict[str, ParityRecord]:
    """Run the gate: ONNX must pass, the others may be refused."""
    reference = staging.scorer(TorchBackend(staging.trained.model))
    check = ParityCheck(reference, documents, staging.trained.rule)
    records = {}
    onnx = OnnxBackend(staging.encoder, staging.head)
    records["onnx:fp32"] = check.compare("onnx:fp32", staging.scorer(onnx))
    require_parity(records["onnx:fp32"])
    if staging.int8_encoder.is_file():
        backend = OpenVINOBackend(staging.int8_encoder, staging.head, "int8")
        record = check.compare("openvino:int8", staging.scorer(backend))
        records["openvino:int8"] = record
        if not record.passed:
            shutil.rmtree(staging.int8_encoder.parent)
    if is_available("openvino") and staging.trained.model.config.encoder != "bag":
        backend = OpenVINOBackend(staging.encoder, staging.head, "fp32")
        records["openvino:fp32"] = check.compare("openvino:fp32", staging.scorer(backend))
    return records


def _description(staging: _Staging) -> BundleDescription:
    trained = staging.trained
    config = trained.config
    knobs = {name: getattr(config, name) for name in ModelSettings.model_fields}
    # The name says what it was; the folder it lay in is nobody's business.
    knobs["encoder"] = Path(config.encoder).name
    # What null meant for this encoder.
    knobs["token_pooling"] = trained.model.config.token_pooling
    labels = number_labels(trained.labels.names)
    paths = {"data", "validation", "output_dir"}
    resolved = {**config.model_dump(exclude=paths), "encoder": knobs["encoder"]}
    return BundleDescription(
        longform_version=__version__,
        problem_type=trained.labels.problem_type,
        text_pair=config.text_pair_column is not None,
        id2label=labels,
        label2id={name: int(row) for row, name in labels.items()},
        knobs=Knobs(segments=config.segment_settings(), model=knobs),
        segmenter_version=SEGMENTER_VERSION,
        tokenizer_digest=file_digest(staging.folder / "tokenizer.json"),
        encoder_digest=trained.encoder_digest,
        training={**trained.summary, "config": resolved},
        metrics=trained.metrics,
        decision={
            "temperature": trained.rule.temperature,
            "thresholds": dict(trained.rule.thresholds),
        },
    )


def _describe(record: ParityRecord) -> str:
    verdict = "equal within tolerance" if record.passed else "REFUSED, left out"
    return (
        f"  {record.target}: {verdict}; largest logit difference "
        f"{record.largest_logit_difference:.2g}, same label for "
        f"{100 * record.label_agreement:.1f} % of {record.documents}"
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
