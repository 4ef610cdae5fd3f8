"""All that a bake-off came to, as one object that pages and JSON are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longform.search.bakeoff.contenders import MAJORITY
from longform.search.bakeoff.ending import Ending, cost_of
from longform.search.bakeoff.records import Standing
from longform.search.bakeoff.selection import (
    Choice,
    describe_choice,
    describe_price,
    describe_unseen,
    front,
    is_as_good,
    metric_of,
    verdict,
)
from longform.search.bakeoff.serving_cost import ServingCost
from longform.search.bakeoff.statistics import (
    METRICS,
    Difference,
    Metric,
    Truth,
    compare,
    share_between,
    split_scores,
)


@dataclass(frozen=True, slots=True)
class Row:
    """A contender as tables show it.

    Attributes:
        name: Of the contender.
        reason: Why it took part.
        settings: What it changes of the configuration.
        splits: It was judged on.
        accuracy: Over all splits; None when it was never judged.
        macro_f1: The same.
        spread: Standard deviation of the metric between the splits.
        gaps: To the reference, by metric: this one minus the reference.
        verdict: What the gap in the metric of the bake-off allows to say.
        document_ms: Milliseconds a document, as served where that was measured.
        cost: Of its bundle; None where it was not measured.
        train_seconds: Of a split, training and judgement.
        is_front: Whether none beats it in both metric and cost.
        out: Why it got no further split.
    """

    name: str
    reason: str
    settings: dict[str, Any]
    splits: int
    accuracy: float | None
    macro_f1: float | None
    spread: float
    gaps: dict[str, Difference]
    verdict: str
    document_ms: float | None
    cost: ServingCost | None
    train_seconds: float | None
    is_front: bool
    out: str

    def figure(self, metric: Metric) -> float:
        """Return the figure of a metric, 0 where there is none."""
        return (self.accuracy if metric == "accuracy" else self.macro_f1) or 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as JSON has them."""
        gaps = {name: gap.as_dict() for name, gap in self.gaps.items()}
        return {**asdict(self), "gaps": gaps}


@dataclass(frozen=True, slots=True)
class BakeoffResult:
    """All that a bake-off came to.

    Attributes:
        metric: That chose.
        protocol: How the documents were divided, in counts.
        rows: The contenders, the best first, those that were never judged last.
        reference: Name of the contender that the gaps are to.
        advice: The recommendation, in sentences.
        ending: Choice, costs and judgement; None when it was interrupted or nobody was eligible.
        budget_seconds: Of the whole.
        seconds: That the rounds took.
        limit_ms: Most milliseconds a document.
        machine: Where the clocks ran.
        exit_status: 0, or that of the signal which ended it.
    """

    metric: Metric
    protocol: dict[str, Any]
    rows: tuple[Row, ...]
    reference: str
    advice: tuple[str, ...]
    ending: Ending | None
    budget_seconds: float
    seconds: float
    limit_ms: float | None
    machine: str
    exit_status: int = 0

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal ended it."""
        return self.exit_status != 0

    @property
    def judged(self) -> list[Row]:
        """Those with figures."""
        return [row for row in self.rows if row.splits]

    @property
    def chosen(self) -> str | None:
        """Name of the choice."""
        return None if self.ending is None else self.ending.choice.chosen.name

    @property
    def bundle(self) -> Path | None:
        """The folder of the choice."""
        return None if self.ending is None else self.ending.bundle

    def as_json(self) -> dict[str, Any]:
        """Return everything as one JSON object without texts; shares are fractions of 1."""
        ending = self.ending
        unseen: dict[str, Any] = {}
        if ending is not None:
            unseen = {
                "figures": {name: asdict(item) for name, item in ending.figures.items()},
                "gaps": {
                    name: {metric: gap.as_dict() for metric, gap in gaps.items()}
                    for name, gaps in ending.gaps.items()
                },
            }
        return {
            "metric": self.metric,
            "protocol": self.protocol,
            "contenders": len(self.rows),
            "contenders_judged": len(self.judged),
            "judgements": sum(row.splits for row in self.rows),
            "budget_seconds": self.budget_seconds,
            "seconds": round(self.seconds, 1),
            "max_latency_ms": self.limit_ms,
            "machine": self.machine,
            "is_interrupted": self.is_interrupted,
            "chosen": self.chosen,
            "reference": self.reference,
            "advice": list(self.advice),
            "rows": [row.as_dict() for row in self.rows],
            "unseen": unseen,
            "failures": {} if ending is None else ending.failures,
            "bundle": str(self.bundle) if self.bundle is not None else None,
        }


def make_rows(
    truth: Truth,
    standings: Sequence[Standing],
    metric: Metric,
    choice: Choice | None,
    costs: dict[str, ServingCost],
) -> tuple[tuple[Row, ...], str]:
    """Return a row for each contender, and the name of the one that all are compared with.

    Args:
        truth: The documents.
        standings: All contenders.
        metric: That ranks.
        choice: What was chosen; the others are compared with it, or else with the best.
        costs: Of the bundles that were measured.
    """
    judged = [item for item in standings if item.judged]
    reference = choice.chosen if choice is not None else None
    if reference is None and judged:
        reference = max(judged, key=lambda item: metric_of(truth, item, metric))
    ahead = front(truth, standings, metric)
    rows = []
    for item in standings:
        gaps: dict[str, Difference] = {}
        if reference is not None and item is not reference:
            found = {m: compare(truth, item.judged, reference.judged, m) for m in METRICS}
            gaps = {name: gap for name, gap in found.items() if gap is not None}
        figures = {m: metric_of(truth, item, m) if item.judged else None for m in METRICS}
        rows.append(
            Row(
                name=item.name,
                reason=item.contender.reason,
                settings=item.contender.settings,
                splits=len(item.judged),
                accuracy=figures["accuracy"],
                macro_f1=figures["macro_f1"],
                spread=share_between(split_scores(truth, item.judged, metric)),
                gaps=gaps,
                verdict=verdict(gaps[metric]) if metric in gaps else "",
                document_ms=cost_of(item, costs),
                cost=costs.get(item.name),
                train_seconds=item.split_seconds,
                is_front=item.name in ahead,
                out=item.out,
            )
        )
    ranked = sorted(rows, key=lambda row: (not row.splits, -row.figure(metric)))
    return tuple(ranked), "" if reference is None else reference.name


def advise(
    truth: Truth,
    standings: Sequence[Standing],
    metric: Metric,
    ending: Ending | None,
    limit_ms: float | None,
) -> tuple[str, ...]:
    """Say in sentences what to take, what it gains over cheaper ones, and how it did unseen."""
    if ending is None:
        return ("No contender within the limit was judged: there is nothing to recommend.",)
    choice = ending.choice
    known = {item.name: cost_of(item, ending.costs) or 0.0 for item in standings}
    told = [describe_choice(choice, metric, known, limit_ms)]
    cheaper = [
        item
        for item in standings
        if item.judged and item.name != MAJORITY and known[item.name] < known[choice.chosen.name]
    ]
    if cheaper:
        rival = max(cheaper, key=lambda item: metric_of(truth, item, metric))
        gap = compare(truth, choice.chosen.judged, rival.judged, metric)
        if gap is not None and not is_as_good(gap):
            told.append(describe_price(rival.name, gap, known, choice.chosen.name, metric))
    figures = ending.figures.get(choice.chosen.name)
    if figures is not None:
        low, high = figures.interval
        told.append(
            f"On {figures.documents:,} documents that no selection saw: accuracy "
            f"{100 * figures.accuracy:.1f} (95 % interval {100 * low:.1f} to {100 * high:.1f}), "
            f"macro-F1 {100 * figures.macro_f1:.1f}, trained on the others."
        )
        told += [
            describe_unseen(
                item.name,
                getattr(ending.figures[item.name], metric),
                ending.gaps[item.name][metric],
                choice.chosen.name,
            )
            for item in cheaper
            if item.name in ending.figures and metric in ending.gaps.get(item.name, {})
        ]
    else:
        told.append(
            "The documents are too few for a part of their own that judges the choice: its figure "
            "is the one that it was chosen by, and a little too good."
        )
    judged = sum(bool(item.judged) for item in standings if item.name != MAJORITY)
    told.append(f"{judged} contenders were compared; intervals are of single comparisons.")
    return tuple(told)
