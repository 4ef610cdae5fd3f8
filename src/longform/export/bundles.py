"""A trained model to a bundle: exported, compared with the reference, described, saved whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longform import __version__
from longform.backends.torch import TorchBackend
from longform.bundle import (
    GOLDEN_FILE,
    MODEL_CARD_FILE,
    SHAPES_FILE,
    TOKENIZER_FILE,
    BundleDescription,
    Knobs,
    file_digest,
    number_labels,
    write_description,
    writing_bundle,
)
from longform.config import LinearSettings, ModelSettings
from longform.export.context import ExportContext, write_parity
from longform.export.encoders import EncoderExports
from longform.export.modelcard import model_card
from longform.export.parity import ParityCheck, ParityRecord, choose_documents
from longform.export.plans import plan_documents
from longform.export.quantized import make_trained_int8
from longform.export.runtime_targets import make_onnx, make_openvino
from longform.extras import is_available
from longform.inference.golden import make_golden, write_golden
from longform.inference.linear_model import WEIGHTS_FILE
from longform.inference.neural import NeuralScorer
from longform.reporting import Reporter
from longform.text.segmenter import SEGMENTER_VERSION, Segmenter
from longform.training.fit import TrainedModel
from longform.types import Document


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
    segmenter = Segmenter(trained.tokenizer, trained.config.segment_settings())
    pairs = trained.config.text_pair_column is not None
    with writing_bundle(target, overwrite=overwrite) as folder:
        trained.model.save_pretrained(folder)
        (folder / TOKENIZER_FILE).write_text(trained.tokenizer.serialized, encoding="utf-8")
        plan = plan_documents(trained.model, segmenter, validation, pairs=pairs)
        (folder / SHAPES_FILE).write_text(plan.as_json(), encoding="utf-8")
        documents = choose_documents(validation, segmenter, trained.config.parity_documents)
        reporter.say(
            f"Exporting, and comparing with the trained model on {len(documents)} documents."
        )
        linear = trained.linear
        if linear is not None:
            linear.model.weights.save(folder / WEIGHTS_FILE)
        reference = NeuralScorer(segmenter, TorchBackend(trained.model), pairs=pairs, linear=linear)
        context = ExportContext(
            folder=folder,
            model=trained.model,
            segmenter=segmenter,
            pairs=pairs,
            plan=plan,
            check=ParityCheck(reference, documents, trained.rule),
            documents=validation[len(documents) :] or validation,
            exports=exports,
            reporter=reporter,
            linear=linear,
        )
        sizes = _make_targets(context, trained)
        write_golden(folder / GOLDEN_FILE, make_golden(reference))
        _write_records(context, trained, sizes, target.name)
    return context.records


def _write_records(
    context: ExportContext, trained: TrainedModel, sizes: dict[str, int], name: str
) -> None:
    """Write what the gate said, the description, and the card for people."""
    folder = context.folder
    verdicts = {target: record.as_dict() for target, record in context.records.items()}
    write_parity(folder, verdicts)
    description = _description(folder, trained, sizes)
    write_description(folder, description)
    card = model_card(name, description, verdicts)
    (folder / MODEL_CARD_FILE).write_text(card, encoding="utf-8")


def _make_targets(context: ExportContext, trained: TrainedModel) -> dict[str, int]:
    """Make what every bundle has; return what int8 saved, where it was trained for."""
    make_onnx(context)
    sizes = make_trained_int8(context, trained.rounding) if trained.rounding else {}
    if is_available("openvino"):
        make_openvino(context)
    return sizes


def _description(folder: Path, trained: TrainedModel, sizes: dict[str, int]) -> BundleDescription:
    config = trained.config
    knobs = {name: getattr(config, name) for name in ModelSettings.model_fields}
    if config.stacked:
        knobs |= {name: getattr(config, name) for name in LinearSettings.model_fields}
    # The name says what it was; the folder it lay in is nobody's business.
    knobs["encoder"] = Path(config.encoder).name
    quantization = {"quantization": sizes} if sizes else {}
    # What null meant for this encoder.
    knobs["token_pooling"] = trained.model.config.token_pooling
    labels = number_labels(trained.labels.names)
    paths = {"data", "validation", "output_dir", "checkpoint_storage"}
    resolved = {**config.model_dump(exclude=paths), "encoder": knobs["encoder"]}
    return BundleDescription(
        longform_version=__version__,
        problem_type=trained.labels.problem_type,
        text_pair=config.text_pair_column is not None,
        id2label=labels,
        label2id={name: int(row) for row, name in labels.items()},
        knobs=Knobs(segments=config.segment_settings(), model=knobs),
        segmenter_version=SEGMENTER_VERSION,
        tokenizer_digest=file_digest(folder / TOKENIZER_FILE),
        encoder_digest=trained.encoder_digest,
        training={**trained.summary, "config": resolved, **quantization},
        metrics=trained.metrics,
        decision=trained.rule.as_settings(),
    )
