"""All examinations of a data file, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from longform.config import RunConfig
from longform.data.doctor.characters import examine_texts
from longform.data.doctor.cleanliness import examine_cleaning
from longform.data.doctor.copies import Copies, examine_copies
from longform.data.doctor.features import join_pair
from longform.data.doctor.files import FileAccount, examine_files
from longform.data.doctor.findings import Finding
from longform.data.doctor.headings import Headings, examine_headings
from longform.data.doctor.labels import ClassCount, examine_labels
from longform.data.doctor.lengths import Lengths, examine_lengths
from longform.data.doctor.plans import EncoderShape
from longform.data.doctor.proposal import Proposal, propose
from longform.data.doctor.refusals import find_refusals
from longform.data.doctor.scripts import Writing
from longform.data.doctor.suspects import Suspects, find_suspects
from longform.data.label_spelling import normalize_labels
from longform.data.readers import ReadResult
from longform.extras import require
from longform.reporting import Reporter
from longform.text.tokenization import TextTokenizer
from longform.types import Document

_Account = TypeVar("_Account")
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
    documents, others = train.documents, None
    files = [FileAccount("training", train.report, len(documents))]
    if validation is not None:
        files.append(FileAccount("validation", validation.report, len(validation.documents)))
        others = _spell(validation.documents, documents, config)
    texts = [join_pair(document) for document in documents]
    run = _Examinations(examine_files(files))
    classes = run.do("labels", lambda: examine_labels(documents, others, config))
    copies = run.do("copies", lambda: examine_copies(documents, others, config, reporter))
    writing = run.do("characters", lambda: examine_texts(documents, texts, reporter))
    cleaning = run.do("cleaning", lambda: examine_cleaning(texts, config))
    lengths = run.do("lengths", lambda: examine_lengths(texts, config, encoder, reporter))
    clusters, seed = copies.duplicates.cluster_ids, config.seed
    # A label in another spelling is a finding of its own, not a wrong label.
    respelled, _ = normalize_labels(documents)
    judge = partial(find_suspects, respelled, clusters, workers, reporter, seed)
    suspects = run.do("suspects", judge)
    compare = partial(examine_headings, respelled, clusters, workers, reporter, seed)
    headings = run.do("headings", compare)
    run.do("refusals", lambda: (None, find_refusals(documents, others, config, run.findings)))
    return Diagnosis(
        files=tuple(files),
        findings=(findings := run.gravest_first(len(documents))),
        classes=classes,
        copies=copies,
        lengths=lengths,
        writing=writing,
        cleaning=cleaning,
        headings=headings,
        suspects=suspects,
        proposal=propose(config, findings, lengths),
        seconds=run.seconds,
    )


def _spell(
    validation: Sequence[Document], train: Sequence[Document], config: RunConfig
) -> tuple[Document, ...]:
    """Spell the labels of validation as training will."""
    if config.normalize_labels:
        return normalize_labels(validation, like=train)[0]
    return tuple(validation)


class _Examinations:
    """Carries out examinations and keeps their findings and times."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        self.seconds: dict[str, float] = {}

    def do(self, name: str, examine: Callable[[], tuple[_Account, list[Finding]]]) -> _Account:
        started = time.perf_counter()
        account, findings = examine()
        self.findings += findings
        self.seconds[name] = round(time.perf_counter() - started, 2)
        return account

    def gravest_first(self, documents: int) -> tuple[Finding, ...]:
        def rank(finding: Finding) -> tuple[int, float]:
            return _ORDER[finding.severity], -_reach(finding, documents)

        return tuple(sorted(self.findings, key=rank))


def _reach(finding: Finding, documents: int) -> float:
    """Rank findings of one severity by how much of the data they touch."""
    return finding.count / max(documents, 1) if finding.unit in {"documents", "rows"} else 0.5
