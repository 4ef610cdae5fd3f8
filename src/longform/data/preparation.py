"""From files to the documents of a run: read, repaired, held out, and each decision said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longform.bundle import file_digest
from longform.config import DataSettings, RunConfig
from longform.data.augmentation import augment_documents
from longform.data.duplicates import first_of_each_text
from longform.data.label_spelling import normalize_labels
from longform.data.labels import LabelMap
from longform.data.readers import ReadReport, read_documents
from longform.data.repairs import Repair, drop_unseen, repair_leaks, repair_training
from longform.data.splits import hold_out
from longform.errors import InputError
from longform.reporting import Reporter, counted
from longform.types import Document


@dataclass(frozen=True, slots=True)
class PreparedData:
    """The documents of a run.

    Attributes:
        train: What the model learns from, changed copies included.
        validation: What chooses the best epoch; every label of it occurs in `train`.
        account: What was read and what became of it, in counts, for the bundle.
    """

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    account: dict[str, Any]


def prepare_data(data: Path, config: RunConfig, reporter: Reporter) -> PreparedData:
    """Read the documents of a run and do what the configuration says about their flaws.

    Args:
        data: Training file.
        config: Of the run; `validation` names a file, or a share of the documents is held out.
        reporter: Told everything that was found, dropped or changed.

    Raises:
        InputError: A file cannot be read, or the documents cannot be trained on.
        MissingExtraError: A library is missing for what the configuration asks for.
    """
    settings = config.data_settings()
    documents, account = _read_training(data, settings, reporter)
    train, validation = _divide(documents, config, reporter, account)
    originals = len(train)
    train = augment_documents(train, config, config.seed, reporter)
    account["augmented_copies"] = len(train) - originals
    return PreparedData(train, validation, account)


def prepare_search_data(
    data: Path, config: RunConfig, test: RunConfig, reporter: Reporter
) -> tuple[PreparedData, tuple[Document, ...]]:
    """Divide documents into those to learn from, those that choose, and those that only judge.

    The test part is set aside first, in the same way as a validation part is, so that neither a
    copy nor a group of it is in the others.

    Args:
        data: Training file.
        config: Of the run.
        test: The same, but for `validation` and `validation_split`, which say where the test part
            comes from.
        reporter: Told everything that was found, dropped or changed.

    Returns:
        The parts to search with, and the test part.

    Raises:
        InputError: A file cannot be read, or the documents cannot be divided.
        MissingExtraError: A library is missing for what the configuration asks for.
    """
    # Groups and times are read where any of the two divisions needs them.
    reading = config if config.validation is None else test
    documents, account = _read_training(data, reading.data_settings(), reporter)
    rest, judging = _divide(documents, test, reporter, account)
    account["test_documents"] = len(judging)
    train, validation = _divide(rest, config, reporter, account)
    # A class whose only documents were set aside cannot be judged.
    judging = _match_labels(judging, train, config, reporter)
    originals = len(train)
    train = augment_documents(train, config, config.seed, reporter)
    account["augmented_copies"] = len(train) - originals
    return PreparedData(train, validation, account), judging


def prepare_bakeoff_data(
    data: Path, config: RunConfig, test: Path | None, reporter: Reporter
) -> tuple[tuple[Document, ...], tuple[Document, ...], dict[str, Any]]:
    """Read the documents that contenders are compared on, and a file that only judges the choice.

    Args:
        data: Labelled documents.
        config: Of the bake-off, without a validation file.
        test: Documents that only judge; None reads none.
        reporter: Told everything that was found, dropped or changed.

    Returns:
        The documents to compare on, those of the file, and the account of both.

    Raises:
        InputError: A file cannot be read, or the documents cannot be learnt from.
    """
    documents, account = _read_training(data, config.data_settings(), reporter)
    if test is None:
        return documents, (), account
    judged = config.model_copy(update={"validation": str(test)})
    documents, judging = _divide(documents, judged, reporter, account)
    return documents, judging, account


def check_share(test_split: float) -> None:
    """Refuse a share that is none.

    Raises:
        InputError: It does not lie between 0 and 1.
    """
    if not 0 < test_split < 1:
        raise InputError(
            "The share of documents that only judge must lie between 0 and 1.",
            found=f"{test_split}",
            fix="Set --test-split, for example to 0.2, or give a file with --test.",
        )


def _read_training(
    data: Path, settings: DataSettings, reporter: Reporter
) -> tuple[tuple[Document, ...], dict[str, Any]]:
    """Read and repair the training file; return its documents and the account so far."""
    result = read_documents(data, settings)
    reporter.say(result.report.summary())
    account: dict[str, Any] = {"training_file": _describe_file(data, result.report)}
    repair = _say(repair_training(result.documents, settings), reporter)
    account["training_repairs"] = _count_changes(repair)
    # Refused here, before anything long begins, when there is nothing to tell apart.
    LabelMap.from_documents(repair.documents)
    return tuple(repair.documents), account


def _divide(
    documents: Sequence[Document], config: RunConfig, reporter: Reporter, account: dict[str, Any]
) -> tuple[tuple[Document, ...], tuple[Document, ...]]:
    """Return the documents to train on and those of the validation file, or held out."""
    if config.validation is None:
        split = hold_out(documents, config, reporter)
        for note in split.notes:
            reporter.say(note)
        # Held out by time, a label may be newer than all that is learnt from.
        return split.train, _match_labels(split.validation, split.train, config, reporter)
    labels = LabelMap.from_documents(documents)
    settings = config.data_settings().model_copy(update={"problem_type": labels.problem_type})
    other = read_documents(Path(config.validation), settings)
    reporter.say(other.report.summary())
    account["validation_file"] = _describe_file(Path(config.validation), other.report)
    validation = _match_labels(other.documents, documents, config, reporter)
    leaks = _say(repair_leaks(documents, validation, settings, reporter), reporter)
    account["leaks"] = _count_changes(leaks)
    train = tuple(leaks.documents)
    if leaks.changes:
        validation = _match_labels(validation, train, config, reporter)
    return train, validation


def read_unlabelled(
    path: Path, config: RunConfig, prepared: PreparedData, reporter: Reporter
) -> tuple[Document, ...]:
    """Read documents whose labels, if they have any, are not looked at.

    Those that repeat another document of the run are left out: in training it would count twice,
    and validation must judge on documents that were not learnt from.

    Args:
        path: A file as for training, or one without labels.
        config: Of the run.
        prepared: The labelled documents.
        reporter: Told what was left out.

    Raises:
        InputError: The file cannot be read or holds no document.
        MissingExtraError: The library that reads this format is not installed.
    """
    result = read_documents(path, config.data_settings(), labelled=False)
    reporter.say(result.report.summary())
    labelled = (*prepared.train, *prepared.validation)
    kept = first_of_each_text(result.documents, labelled)
    repeated = len(result.documents) - len(kept)
    if repeated:
        reporter.say(
            f"{counted(repeated, 'document')} of {path.name} left out: the same text is among the "
            "labelled documents, or came before."
        )
    return tuple(kept)


def _match_labels(
    validation: Sequence[Document],
    train: Sequence[Document],
    config: RunConfig,
    reporter: Reporter,
) -> tuple[Document, ...]:
    """Bring the labels of validation documents in line with those of training, or refuse them."""
    labels = LabelMap.from_documents(train)
    if config.normalize_labels:
        validation, notes = normalize_labels(validation, like=train)
        for note in notes:
            reporter.say(note)
    if config.unseen_labels == "drop":
        validation = _say(drop_unseen(validation, labels.names), reporter).documents
    labels.targets(validation)
    return tuple(validation)


def _say(repair: Repair, reporter: Reporter) -> Repair:
    for note in repair.notes:
        reporter.say(note)
    return repair


def _describe_file(path: Path, report: ReadReport) -> dict[str, Any]:
    """Count rows, and name the bytes: later, documents that were learnt from can be told."""
    counts = {"rows": report.rows, "skipped_rows": len(report.skipped)}
    return {**counts, "sha256": file_digest(path)} if path.is_file() else counts


def _count_changes(repair: Repair) -> dict[str, int]:
    return {
        what: sum(change.what == what for change in repair.changes)
        for what in ("dropped", "relabelled")
    }
