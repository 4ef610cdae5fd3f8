"""Whether training would refuse the data: asked of the very functions that training calls."""

from __future__ import annotations

from collections.abc import Sequence

from longform.config import RunConfig
from longform.data.doctor.findings import Finding
from longform.data.labels import LabelMap
from longform.data.repairs import drop_unseen, repair_training
from longform.data.splits import hold_out
from longform.errors import InputError
from longform.types import Document


def find_refusals(
    train: Sequence[Document],
    validation: Sequence[Document] | None,
    config: RunConfig,
    known: Sequence[Finding],
) -> list[Finding]:
    """Go the way of training up to its first step.

    Args:
        train: Documents for training.
        validation: Documents of the validation file, or None to hold out a part of `train`.
        config: Of the run.
        known: What was found before: where an error is among it, the refusal is told already.
    """
    if any(finding.severity == "error" for finding in known):
        return []
    try:
        repaired = repair_training(train, config.data_settings()).documents
        labels = LabelMap.from_documents(repaired)
        if validation is None:
            split = hold_out(repaired, config)
            # Held out by time, a label may be newer than all that is learnt from.
            labels, validation = LabelMap.from_documents(split.train), split.validation
        if config.unseen_labels == "drop":
            validation = drop_unseen(validation, labels.names).documents
        labels.targets(validation)
    except InputError as error:
        return [
            Finding(
                kind="refused",
                severity="error",
                what=f"{error.rule} Found: {error.found.rstrip('.')}.",
                count=len(train),
                training="refuses the data",
                advice=error.fix,
            )
        ]
    return []
