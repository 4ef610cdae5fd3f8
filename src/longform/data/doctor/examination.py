"""All examinations of a data file, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from longform.config import RunConfig
from longform.data.doctor.contents import (
    FileAccount,
    examine_cleaning,
    examine_files,
    examine_texts,
)
from longform.data.doctor.copies import Copies, examine_copies
from longform.data.doctor.features import join_pair
from longform.data.doctor.findings import Finding
from longform.data.doctor.headings import Headings, examine_headings
from longform.data.doctor.labels import ClassCount, examine_labels
from longform.data.doctor.lengths import EncoderShape, Lengths, examine_lengths
from longform.data.doctor.proposal import Proposal, propose
from longform.data.doctor.refusals import find_refusals
from longform.data.doctor.scripts import Writing
from longform.data.doctor.suspects import Suspects, find_suspects
from longform.data.label_spelling import normalize_labels
from longform.data.readers import ReadResult
from longform.extras import require
from longform.reporting import Reporter
from longform.text.tokenization import TextTokenizer

_ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found in the data of a run.

    Attributes:
        files: The training file and, where there is one, the validation file.
        findings: The gravest first, and of those the ones that touch most.
        classes: The largest first.
        copies: What repeats.
        lengths: How long the documents are.
        writing: Their scripts.
        cleaning: Cleaning step -> share of the documents that it changes.
        headings: What the beginnings tell.
        suspects: Labels that are probably wrong.
        proposal: A configuration that fits.
        seconds: Examination -> time it took.
    """

    files: tuple[FileAccount, ...]
    findings: tuple[Finding, ...]
    classes: tuple[ClassCount, ...]
    copies: Copies
    lengths: Lengths
    writing: Writing
    cleaning: dict[str, float]
    headings: Headings
    suspects: Suspects
    proposal: Proposal
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def is_trainable(self) -> bool:
        """Whether training would accept the data with the settings given."""
        return all(finding.severity != "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON types: ids, labels and counts, no texts."""
        return {
            "trainable": self.is_trainable,
            "files": [file.as_json() for file in self.files],
            "findings": [finding.as_json() for finding in self.findings],
            "classes": [entry.as_json() for entry in self.classes],
            "copies": self.copies.as_json(),
            "lengths": self.lengths.as_json(),
            "writing": {
                "documents": self.writing.documents,
                "characters": self.writing.characters,
                "mixed_documents": len(self.writing.mixed),
            },
            "cleaning": {step: round(share, 4) for step, share in self.cleaning.items()},
            "headings": self.headings.as_json(),
            "suspects": self.suspects.as_json(),
            "proposal": {
                "settings": self.proposal.settings,
                "reasons": self.proposal.reasons,
                "yaml": self.proposal.as_yaml(),
            },
            "seconds": self.seconds,
        }


def diagnose(
    train: ReadResult,
    validation: ReadResult | None,
    config: RunConfig,
    encoder: tuple[TextTokenizer, EncoderShape] | None = None,
    workers: int = 1,
    reporter: Reporter | None = None,
) -> Diagnosis:
    """Examine the documents of a run.

    Args:
        train: The training file, read with the settings of `config`.
        validation: The validation file, or None where a part of `train` is to be held out.
        config: Of the run: what training would do follows from it.
        encoder: Tokenizer and size of the encoder; None estimates with the tokenizer of `bag`.
        workers: Threads.
        reporter: Shown the progress.

    Raises:
        MissingExtraError: An optional library is not installed.
    """
    reporter = reporter or Reporter()
    # Asked for now, and not after a minute of work.
    for library in ("sklearn", "cleanlab", "datasketch", "ftfy"):
        require(library, "The doctor")
    clock = _Clock()
    documents = train.documents
    others = None if validation is None else validation.documents
    if others is not None and config.normalize_labels:
        others, _ = normalize_labels(others, like=documents)
    files = [FileAccount("training", train.report, len(documents))]
    if validation is not None:
        files.append(FileAccount("validation", validation.report, len(validation.documents)))
    texts = [join_pair(document) for document in documents]
    tokenizer, shape = encoder or (None, None)

    findings = examine_files(files)
    classes, found = examine_labels(documents, others, config)
    findings += found
    with clock.time("copies"):
        copies, found = examine_copies(documents, others, config, reporter)
        findings += found
    with clock.time("characters"):
        writing, found = examine_texts(documents, texts, reporter)
        findings += found
    with clock.time("cleaning"):
        cleaning, found = examine_cleaning(texts, config)
        findings += found
    with clock.time("lengths"):
        lengths, found = examine_lengths(texts, config, tokenizer, shape, reporter)
        findings += found
    clusters = copies.duplicates.cluster_ids
    # A label in another spelling is a finding of its own, not a wrong label.
    respelled, _ = normalize_labels(documents)
    with clock.time("suspects"):
        suspects, found = find_suspects(respelled, clusters, workers, reporter, config.seed)
        findings += found
    with clock.time("headings"):
        headings, found = examine_headings(respelled, clusters, workers, reporter, config.seed)
        findings += found
    with clock.time("refusals"):
        findings += find_refusals(documents, others, config, findings)
    findings.sort(key=lambda finding: (_ORDER[finding.severity], -_reach(finding, len(texts))))
    return Diagnosis(
        files=tuple(files),
        findings=tuple(findings),
        classes=classes,
        copies=copies,
        lengths=lengths,
        writing=writing,
        cleaning=cleaning,
        headings=headings,
        suspects=suspects,
        proposal=propose(config, findings, lengths),
        seconds=clock.seconds,
    )


def _reach(finding: Finding, documents: int) -> float:
    """Rank findings of one severity by how much of the data they touch."""
    return finding.count / max(documents, 1) if finding.unit in {"documents", "rows"} else 0.5


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 2)
