"""A fitted linear model to a bundle: rounded to int8 where its answers stay, described, saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longform import __version__
from longform.bundle import (
    GOLDEN_FILE,
    MODEL_CARD_FILE,
    BundleDescription,
    Knobs,
    file_digest,
    number_labels,
    write_description,
    writing_bundle,
)
from longform.config import LINEAR, LinearSettings
from longform.export.context import describe_verdict, write_parity
from longform.export.modelcard import model_card
from longform.export.parity import ParityCheck, ParityRecord
from longform.inference.golden import golden_texts, write_golden
from longform.inference.linear import RUNTIME, LinearScorer
from longform.inference.linear_model import WEIGHTS_FILE, LinearModel
from longform.reporting import Reporter
from longform.text.cleaning import Cleaner
from longform.text.ngrams import HASH_VERSION
from longform.training.linear import TrainedLinear
from longform.types import Document


def write_linear_bundle(
    trained: TrainedLinear,
    validation: Sequence[Document],
    target: Path,
    *,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, ParityRecord]:
    """Save a fitted linear model as a bundle, or leave the target as it was.

    The weights are stored in int8, a quarter of the size, unless that changes answers; the
    reference is what was fitted, in fp32.

    Args:
        trained: The model.
        validation: Labelled documents that the parity gate reads.
        target: The bundle's folder.
        overwrite: Replace a bundle that is there.
        reporter: Told how it goes.

    Returns:
        The parity record of each precision that was tried.

    Raises:
        InputError: The target cannot be written.
    """
    reporter = reporter or Reporter()
    cleaner = Cleaner(trained.config.segment_settings())
    reference = trained.scorer()
    check = ParityCheck(reference, validation, trained.rule)
    rounded = LinearModel(trained.model.reader, trained.model.weights.rounded())
    record = check.compare(f"{RUNTIME}:int8", LinearScorer(rounded, cleaner))
    records = {record.target: record}
    reporter.say(f"  {describe_verdict(record)}")
    served = rounded if record.passed else trained.model
    if not record.passed:
        record = check.compare(f"{RUNTIME}:fp32", reference)
        records[record.target] = record
    with writing_bundle(target, overwrite=overwrite) as folder:
        served.weights.save(folder / WEIGHTS_FILE)
        verdicts = {name: item.as_dict() for name, item in records.items()}
        write_parity(folder, verdicts, reference=f"{RUNTIME}:fp32")
        pairs = trained.model.reader.texts == 2
        write_golden(folder / GOLDEN_FILE, golden_texts(LinearScorer(served, cleaner), pairs=pairs))
        description = _description(folder, trained, served.weights.precision)
        write_description(folder, description)
        card = model_card(target.name, description, verdicts)
        (folder / MODEL_CARD_FILE).write_text(card, encoding="utf-8")
    return records


def _description(folder: Path, trained: TrainedLinear, precision: str) -> BundleDescription:
    config, labels = trained.config, trained.labels
    settings = {name: getattr(config, name) for name in LinearSettings.model_fields}
    return BundleDescription(
        longform_version=__version__,
        kind="linear",
        problem_type=labels.problem_type,
        text_pair=config.text_pair_column is not None,
        id2label=number_labels(labels.names),
        label2id=labels.label2id,
        knobs=Knobs(segments=config.segment_settings(), model={"encoder": LINEAR, **settings}),
        segmenter_version=HASH_VERSION,
        tokenizer_digest="",
        encoder_digest=file_digest(folder / WEIGHTS_FILE),
        training={
            **trained.summary,
            "precision": precision,
            "config": config.model_dump(
                exclude={"data", "validation", "output_dir", "checkpoint_storage"}
            ),
        },
        metrics=trained.metrics,
        decision=trained.rule.as_settings(),
    )
