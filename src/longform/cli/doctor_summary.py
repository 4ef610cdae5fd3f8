"""A diagnosis on the screen: the gravest first, then what helps to decide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from longform.cli.console import summary_console
from longform.reporting import counted

if TYPE_CHECKING:
    from longform.data.doctor.examination import Diagnosis
    from longform.data.doctor.findings import Finding
    from longform.data.doctor.fixing import Fix

_WIDTH = 110
_SUSPECTS = 5
_CLASSES = 6
_MARKS = {"error": ("✗", "bold red"), "warning": ("!", "bold yellow"), "note": ("·", "dim")}


def print_summary(
    diagnosis: Diagnosis, fixed: Fix | None, report: Path | None, seconds: float
) -> None:
    """Print what matters on standard output.

    Args:
        diagnosis: What was found.
        fixed: The repair, where one was asked for.
        report: Where the HTML report is.
        seconds: That all of it took.
    """
    console = summary_console(_WIDTH)
    _print_verdict(console, diagnosis)
    _print_facts(console, diagnosis)
    if diagnosis.findings:
        console.print(Rule("Findings", align="left", style="dim"))
        console.print(_table_of_findings(diagnosis))
    console.print(Rule("Ways to read the documents", align="left", style="dim"))
    console.print(_table_of_plans(diagnosis))
    if diagnosis.suspects.worst:
        console.print(Rule("Labels to look at first", align="left", style="dim"))
        console.print(_table_of_suspects(diagnosis))
    console.print(Rule("Proposed configuration", align="left", style="dim"))
    console.print(Padding(Text(diagnosis.proposal.as_yaml().rstrip()), (0, 2)), soft_wrap=True)
    console.print()
    if fixed is not None:
        console.print(_describe_fix(fixed), soft_wrap=True)
    if report is not None:
        console.print(Text(f"Report: {report}"), soft_wrap=True)
    console.print(Text(f"{seconds:,.1f} s; no data file was changed.", style="dim"))


def _print_verdict(console: Console, diagnosis: Diagnosis) -> None:
    number = {
        severity: sum(finding.severity == severity for finding in diagnosis.findings)
        for severity in _MARKS
    }
    told = ", ".join(counted(number[severity], severity) for severity in _MARKS if number[severity])
    if not diagnosis.is_trainable:
        verdict = Text("Training would refuse this data", style="bold red")
    elif number["warning"]:
        verdict = Text("Training would work, but look at the warnings", style="bold yellow")
    else:
        verdict = Text("Training would work", style="bold green")
    console.print(Text.assemble(verdict, f": {told or 'nothing found'}."))
    console.print()


def _print_facts(console: Console, diagnosis: Diagnosis) -> None:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for file in diagnosis.files:
        read = file.report
        kind = [part for part in (read.format, read.encoding, read.compression) if part]
        if read.encoding_certainty is not None:
            kind.append(f"{100 * read.encoding_certainty:.0f} % sure")
        told = f"{read.path.name} ({', '.join(kind)}): {file.documents:,} documents"
        if read.skipped:
            told += f" of {read.rows:,} rows"
        facts.add_row(file.role, Text(told))
        for note in read.notes:
            facts.add_row("", Text(note, style="dim"))
    facts.add_row("classes", Text(_describe_classes(diagnosis)))
    lengths = diagnosis.lengths
    part = "" if lengths.sampled == lengths.documents else f" (of {lengths.sampled:,} documents)"
    facts.add_row(
        "lengths",
        Text(
            f"median {lengths.characters.median:,} characters, 90 % under "
            f"{lengths.characters.p90:,}, longest {lengths.characters.longest:,}; median "
            f"{lengths.tokens.median:,} tokens{part} by {lengths.tokenizer}"
        ),
    )
    total = sum(diagnosis.writing.documents.values())
    facts.add_row(
        "writing",
        Text(
            ", ".join(
                f"{name} {100 * count / total:.1f} %"
                for name, count in list(diagnosis.writing.documents.items())[:4]
            )
        ),
    )
    if diagnosis.suspects.judged:
        facts.add_row(
            "baseline",
            Text(
                f"{100 * diagnosis.suspects.accuracy:.1f} % agreement of a linear model with the "
                "labels, cross-validated"
            ),
        )
    console.print(facts)
    console.print()


def _describe_classes(diagnosis: Diagnosis) -> str:
    classes = [entry for entry in diagnosis.classes if entry.train]
    named = ", ".join(f"{entry.label} {entry.train:,}" for entry in classes[:_CLASSES])
    if len(classes) <= _CLASSES:
        return f"{len(classes):,}: {named}"
    last = classes[-1]
    return f"{len(classes):,}: {named} ... {last.label} {last.train:,}"


def _table_of_findings(diagnosis: Diagnosis) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=1)
    table.add_column(ratio=1)
    for finding in diagnosis.findings:
        mark, style = _MARKS[finding.severity]
        table.add_row(Text(mark, style=style), _describe(finding, style))
    return table


def _describe(finding: Finding, style: str) -> Group:
    is_note = finding.severity == "note"
    what = finding.what[:1].upper() + finding.what[1:]
    lines = [Text(what, style="" if is_note else "bold")]
    if finding.examples:
        lines.append(Text("such as " + ", ".join(finding.examples[:3]), style="dim"))
    lines.append(Text.assemble(("training ", style), finding.training))
    lines.append(Text.assemble(("→ ", style), finding.advice))
    # A blank line between findings, so that each is read as one.
    lines.append(Text(""))
    return Group(*lines)


def _table_of_plans(diagnosis: Diagnosis) -> Table:
    table = Table(box=None, padding=(0, 2), show_edge=False, header_style="dim")
    for name in ("plan", "segments", "tokens read", "read whole", "padding", "cost"):
        table.add_column(name, justify="left" if name == "plan" else "right", no_wrap=True)
    proposed = diagnosis.proposal.settings.get("segment_length")
    for plan in diagnosis.lengths.plans:
        is_proposed = plan.settings == {"segment_length": proposed}
        mark = " ← proposed" if is_proposed else " (as set)" if plan.is_configured else ""
        table.add_row(
            Text(plan.name + mark, style="bold" if is_proposed else ""),
            f"{plan.segments:,.1f}",
            f"{100 * plan.coverage:.1f} %",
            f"{100 * plan.whole:.1f} %",
            f"{100 * plan.padding:.0f} %",
            f"{plan.relative_cost:.2f} x",
        )
    whole = next(plan for plan in diagnosis.lengths.plans if plan.relative_cost == 1)
    table.caption = f"1 x = {whole.gigaflops:,.1f} GFLOP a document, {diagnosis.lengths.encoder}"
    table.caption_justify = "left"
    return table


def _table_of_suspects(diagnosis: Diagnosis) -> Table:
    table = Table(box=None, padding=(0, 2), show_edge=False, header_style="dim")
    for name in ("id", "label", "suggested", "quality"):
        table.add_column(name, overflow="fold", justify="right" if name == "quality" else "left")
    for suspect in diagnosis.suspects.worst[:_SUSPECTS]:
        table.add_row(
            Text(suspect.id), Text(suspect.label), Text(suspect.suggested), f"{suspect.quality:.3f}"
        )
    return table


def _describe_fix(fixed: Fix) -> Text:
    done = ", ".join(f"{count:,} {what}" for what, count in fixed.counts.items()) or "no change"
    told = f"Repaired copy: {fixed.path} with {fixed.documents:,} documents ({done}); each change "
    told += f"is listed in {fixed.changes_path}"
    return Text("; ".join([told, *fixed.notes]))
