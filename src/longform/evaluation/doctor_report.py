"""A diagnosis as one HTML page in the look of the evaluation's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import Element

from longform.data.doctor.examination import Diagnosis
from longform.data.doctor.files import FileAccount
from longform.data.doctor.findings import Finding
from longform.evaluation.charts import percent
from longform.evaluation.doctor_sections import (
    show_classes,
    show_cleaning,
    show_clusters,
    show_headings,
    show_leaks,
    show_lengths,
    show_plans,
    show_suspects,
    show_writing,
)
from longform.evaluation.markup import Child, element
from longform.evaluation.page import card, page_footer, page_header, write_page
from longform.reporting import counted


def write_doctor_report(path: Path, diagnosis: Diagnosis) -> None:
    """Write a diagnosis as a page for people. It quotes the beginnings of suspected documents.

    Args:
        path: File to write; one that exists is replaced.
        diagnosis: What to show.

    Raises:
        InputError: The file cannot be written.
    """
    name = diagnosis.files[0].report.path.name
    write_page(
        path,
        f"{name}: {_verdict(diagnosis)}",
        _show_header(name, diagnosis),
        element(
            "main",
            _show_headline(diagnosis),
            _show_findings(diagnosis.findings),
            show_classes(diagnosis),
            *show_lengths(diagnosis),
            show_plans(diagnosis),
            show_clusters(diagnosis),
            show_leaks(diagnosis),
            show_headings(diagnosis),
            show_writing(diagnosis),
            _show_proposal(diagnosis),
            show_cleaning(diagnosis),
            show_suspects(diagnosis),
            _show_files(diagnosis.files),
        ),
        page_footer(bool(diagnosis.suspects.worst)),
    )


def _verdict(diagnosis: Diagnosis) -> str:
    if not diagnosis.is_trainable:
        return "training would refuse it"
    grave = any(finding.severity == "warning" for finding in diagnosis.findings)
    return "training would work, but look at the warnings" if grave else "training would work"


def _show_header(name: str, diagnosis: Diagnosis) -> Element:
    training = diagnosis.files[0]
    read = training.report
    kind = ", ".join(part for part in (read.format, read.encoding, read.compression) if part)
    facts = [
        counted(training.documents, "document"),
        counted(sum(entry.train > 0 for entry in diagnosis.classes), "class", "classes"),
        kind,
        *(f"validation: {file.report.path.name}" for file in diagnosis.files[1:]),
        f"{datetime.now(UTC):%Y-%m-%d %H:%M %Z}",
    ]
    return page_header("longform doctor", name, facts)


def _show_headline(diagnosis: Diagnosis) -> Element:
    number = {
        severity: sum(finding.severity == severity for finding in diagnosis.findings)
        for severity in ("error", "warning", "note")
    }
    copies, suspects = diagnosis.copies, diagnosis.suspects
    repeated = copies.exact + copies.near
    documents = max(diagnosis.files[0].documents, 1)
    tiles = [
        ("Copies", percent(repeated / documents), f"{copies.exact:,} exact, {copies.near:,} near"),
        (
            "Leaks",
            "–" if copies.leaked is None else percent(copies.leaked_share),
            "of the validation documents stand in training"
            if copies.leaked is not None
            else "no validation file: training holds out its own",
        ),
        (
            "Linear baseline",
            percent(suspects.accuracy) if suspects.judged else "–",
            "agrees with the labels of documents it has not seen"
            if suspects.judged
            else "; ".join(suspects.unjudged),
        ),
    ]
    verdict = _verdict(diagnosis)
    told = ", ".join(counted(count, name) for name, count in number.items() if count)
    return element(
        "section",
        element(
            "div",
            element("h2", "Verdict"),
            element(
                "p",
                element("strong", verdict[:1].upper() + verdict[1:], class_="figure verdict"),
            ),
            element("p", f"{told or 'Nothing found'}.", class_="note"),
            class_="judgement" if diagnosis.is_trainable else "judgement refused",
        ),
        element(
            "dl",
            *(
                element(
                    "div",
                    element("dt", name),
                    element("dd", value, class_="figure"),
                    element("dd", note, class_="note"),
                )
                for name, value, note in tiles
            ),
        ),
        class_="headline",
    )


def _show_findings(findings: Sequence[Finding]) -> Element:
    if not findings:
        return card("Findings", "There is none.")
    items = (
        element(
            "li",
            element(
                "p",
                element("span", finding.severity, class_="severity"),
                element("b", finding.what[:1].upper() + finding.what[1:]),
            ),
            element("p", f"Such as {', '.join(finding.examples)}", class_="note", dir="auto")
            if finding.examples
            else None,
            element(
                "p",
                element("span", "Training ", class_="note"),
                f"{finding.training}. ",
                element("span", "Advice ", class_="note"),
                finding.advice,
            ),
            class_=finding.severity,
        )
        for finding in findings
    )
    told = "The gravest first, with what training does about each under the settings given."
    return card("Findings", told, element("ol", *items, class_="findings"))


def _show_proposal(diagnosis: Diagnosis) -> Element:
    told = "For longform train; it settles what the findings propose and keeps what was set."
    content = element("pre", element("code", diagnosis.proposal.as_yaml()))
    return card("Proposed configuration", told, content, class_="half")


def _show_files(files: Sequence[FileAccount]) -> Element:
    lines: list[Child] = []
    for file in files:
        report = file.report
        lines.append(element("h3", report.path.name, dir="auto"))
        lines.append(element("p", f"{file.documents:,} documents of {report.rows:,} rows."))
        for reason, rows in file.skipped_by_reason().items():
            named = ", ".join(rows[:10]) + (", ..." if len(rows) > 10 else "")
            lines.append(element("p", f"Skipped, {reason}: {len(rows):,} (rows {named})"))
        lines += [element("p", note) for note in report.notes]
    return card("Files", "How they were read.", *lines)
