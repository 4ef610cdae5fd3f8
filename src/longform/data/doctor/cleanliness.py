"""What each cleaning step would change in the documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from longform.config import CleaningStep, RunConfig, SegmentSettings
from longform.data.doctor.findings import Finding
from longform.extras import is_available
from longform.text.cleaning import Cleaner

_CLEANED_DOCUMENTS, _CLEANED_CHARACTERS = 400, 20_000
_CLEANING_SHARE = 0.05
"""Share of the documents from which a cleaning step is worth proposing."""
_SAFE_STEPS = ("html", "control_characters", "boilerplate")
"""Steps that take away no meaning, in the order of `CleaningStep`; others are the user's choice."""


def examine_cleaning(
    texts: Sequence[str], config: RunConfig
) -> tuple[dict[str, float], list[Finding]]:
    """Try each cleaning step on some documents.

    Args:
        texts: Of all documents.
        config: Whose `cleaning` and `keep_symbols` hold.

    Returns:
        Step -> share of the documents that it changes, and the proposal of those worth having.
    """
    sample = texts[:: max(1, len(texts) // _CLEANED_DOCUMENTS)][:_CLEANED_DOCUMENTS]
    shares: dict[str, float] = {}
    for step in get_args(CleaningStep):
        if step == "traditional_to_simplified" and not is_available("opencc"):
            continue
        cleaner = Cleaner(SegmentSettings(cleaning=(step,), keep_symbols=config.keep_symbols))
        changed = sum(bool(cleaner.clean(text[:_CLEANED_CHARACTERS]).changes) for text in sample)
        shares[step] = changed / max(len(sample), 1)
    wanted = [
        step
        for step in _SAFE_STEPS
        if step not in config.cleaning and shares[step] >= _CLEANING_SHARE
    ]
    if not wanted:
        return shares, []
    told = ", ".join(f"{step} ({100 * shares[step]:.0f} %)" for step in wanted)
    finding = Finding(
        kind="cleaning",
        severity="note",
        what=f"cleaning steps that are off would change many documents: {told}",
        count=round(max(shares[step] for step in wanted) * len(texts)),
        training="reads the texts with " + (", ".join(config.cleaning) or "no step") + " only",
        advice="Turn them on: they take away markup and layout, and run in serving as well.",
        proposes={
            "cleaning": [s for s in get_args(CleaningStep) if s in {*config.cleaning, *wanted}]
        },
    )
    return shares, [finding]
