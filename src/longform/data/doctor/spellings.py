"""Labels that are one class by another spelling."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

from longform.config import RunConfig
from longform.data.doctor.findings import EXAMPLES, Finding
from longform.data.label_spelling import normalize_labels
from longform.reporting import counted
from longform.types import Document


def examine_spellings(names: Counter[str], config: RunConfig) -> list[Finding]:
    """Tell of labels that are probably one class.

    Args:
        names: Label -> how often it is given.
        config: Whether labels are normalized.
    """
    findings = []
    respelled = {} if config.normalize_labels else _respell(names)
    if respelled:
        count = sum(names[name] for name in respelled)
        findings.append(
            Finding(
                kind="label_spellings",
                severity="warning",
                what=f"{counted(len(respelled), 'label is', 'labels are')} another one but for "
                f"blanks at the ends, width or case, on {counted(count, 'document')}",
                count=count,
                examples=tuple(f"{a!r} = {b!r}" for a, b in list(respelled.items())[:EXAMPLES]),
                training="takes them for different classes",
                advice="Let training take the commonest spelling, or correct the file (--fix).",
                proposes={"normalize_labels": True},
            )
        )
    inside = _alike_inside(names)
    if inside:
        findings.append(
            Finding(
                kind="label_signs",
                severity="warning",
                what=f"{counted(len(inside), 'pair')} of labels {_differ(len(inside))} only in "
                "blanks, hyphens or other signs within",
                count=len(inside),
                unit="classes",
                examples=tuple(f"{a!r} ~ {b!r}" for a, b in inside[:EXAMPLES]),
                training="takes them for different classes",
                advice="If they are one class, write it one way in the file.",
            )
        )
    return findings


def _respell(names: Counter[str]) -> dict[str, str]:
    """Return label -> its commonest spelling, where that is another; the commonest first."""
    documents = [Document("", "", name) for name in names.elements()]
    pairs = {
        str(old.label): str(new.label)
        for old, new in zip(documents, normalize_labels(documents)[0], strict=True)
        if old.label != new.label
    }
    return dict(sorted(pairs.items(), key=lambda pair: (-names[pair[0]], pair)))


def _alike_inside(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of labels that only signs within tell apart, and no respelling would join."""
    groups: dict[str, dict[str, str]] = {}
    for name in sorted(names):
        folded = unicodedata.normalize("NFKC", name).strip().casefold()
        squeezed = "".join(character for character in folded if character.isalnum())
        # Digits apart, as in `1.2` and `12`, say different things; so do + and -.
        if not squeezed or squeezed.isdecimal():
            continue
        groups.setdefault(squeezed, {}).setdefault(folded, name)
    alike = [tuple(spellings.values()) for spellings in groups.values() if len(spellings) > 1]
    return [(first, other) for first, *others in alike for other in others]


def _differ(pairs: int) -> str:
    return "differs" if pairs == 1 else "differ"
