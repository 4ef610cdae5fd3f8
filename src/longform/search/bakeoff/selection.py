"""Who goes on, who is chosen, and what is said about it. Knows nothing of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longform.search.bakeoff.contenders import MAJORITY
from longform.search.bakeoff.records import Standing
from longform.search.bakeoff.statistics import METRICS, Difference, Metric, Truth, compare, score

WORTH = 0.005
"""Gain below which a higher cost is never worth it, and two contenders count as equal."""
_DROPPED = 0.99
"""Confidence with which a contender must be worse to get no further split: many are compared."""
_CHEAPER = 2.0
"""Costs within this factor count as equal: clocks of shared machines are no better."""


_EXPORT_GAIN = 8.0
"""How many times faster than in training an exported model may be: until its bundle is measured,
nothing closer to the limit is refused."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The outcome of a selection.

    Attributes:
        chosen: What to take.
        best: The highest figure of all that were eligible.
        difference: `best` over `chosen` in the metric; None where they are one.
        too_slow: Those that were better on the figures and beyond the limit of latency.
    """

    chosen: Standing
    best: Standing
    difference: Difference | None
    too_slow: tuple[str, ...] = ()


def metric_of(truth: Truth, standing: Standing, metric: Metric) -> float:
    """Return a contender's figure over all its splits."""
    return score(truth, standing.judged, metric)


def drop_dominated(truth: Truth, standings: Sequence[Standing], metric: Metric) -> list[str]:
    """Mark the contenders that another one dominates, and say why.

    A contender is dominated by one that costs no more, is better in the metric by its paired 99 %
    interval, and no worse in the other metric.

    Returns:
        A line for each that is out from now on.
    """
    told = []
    alive = [item for item in standings if not item.out and item.judged and item.name != MAJORITY]
    for standing in alive:
        for rival in alive:
            if rival is standing or rival.out or not _costs_no_more(rival, standing):
                continue
            gap = _dominates(truth, rival, standing, metric)
            if gap is not None:
                standing.out = (
                    f"{rival.name} is better by {_points(gap.value)} points "
                    f"({_ends(gap)}) at no higher cost"
                )
                told.append(f"{standing.name} is out: {standing.out}.")
                break
    return told


def choose(
    truth: Truth,
    standings: Sequence[Standing],
    metric: Metric,
    limit_ms: float | None = None,
    costs: Mapping[str, float] | None = None,
) -> Choice | None:
    """Choose the cheapest contender that is as good as the best one within the limit.

    As good means: no worse by the paired 95 % interval, and its gap at most a standard error of
    the difference (Breiman et al., "Classification and Regression Trees", 1984) or half a point.
    Among those of about the lowest cost the best is taken.

    Args:
        truth: The documents.
        standings: All contenders.
        metric: What is to be high.
        limit_ms: Most milliseconds a document; None for no limit.
        costs: Milliseconds a document as served, of those that were measured: these are held
            against the limit. Who is cheaper is decided by what all were measured in, training.

    Returns:
        None when no contender within the limit was judged.
    """
    served = costs or {}
    known = {item.name: item.document_ms for item in standings}
    judged = [item for item in standings if item.judged and item.name != MAJORITY]
    ranked = sorted(judged, key=lambda item: -metric_of(truth, item, metric))
    within = [
        item
        for item in ranked
        if _is_within(served.get(item.name, known[item.name]), limit_ms, item.name in served)
    ]
    if not within:
        return None
    best = max(within, key=lambda item: (not item.out, metric_of(truth, item, metric)))
    too_slow = tuple(item.name for item in ranked[: ranked.index(best)] if item not in within)
    good: list[tuple[Standing, Difference | None]] = [(best, None)]
    for item in within:
        gap = compare(truth, best.judged, item.judged, metric)
        if item is not best and gap is not None and is_as_good(gap):
            good.append((item, gap))
    lowest = min(known[item.name] or 0.0 for item, _ in good)
    cheap = [pair for pair in good if (known[pair[0].name] or 0.0) <= _CHEAPER * lowest]
    chosen, gap = max(cheap, key=lambda pair: metric_of(truth, pair[0], metric))
    return Choice(chosen, best, gap, too_slow)


def is_as_good(gap: Difference) -> bool:
    """Tell whether what lies a gap below the best counts as good as the best."""
    return gap.low <= 0 and gap.value <= max(WORTH, gap.error)


def front(truth: Truth, standings: Sequence[Standing], metric: Metric) -> set[str]:
    """Return the names of those that no other one beats in both cost and metric."""
    known = [item for item in standings if item.judged and item.document_ms is not None]
    found: set[str] = set()
    best = float("-inf")
    for item in sorted(
        known, key=lambda item: (item.document_ms or 0.0, -metric_of(truth, item, metric))
    ):
        value = metric_of(truth, item, metric)
        if value > best and item.name != MAJORITY:
            found.add(item.name)
            best = value
    return found


def verdict(gap: Difference) -> str:
    """Say in words what a paired difference allows to say."""
    if gap.low > 0:
        return "better"
    if gap.high < 0:
        return "worse"
    if gap.low >= -WORTH and gap.high <= WORTH:
        return "equal"
    return "not told apart"


def describe_choice(
    choice: Choice, metric: Metric, costs: Mapping[str, float], limit_ms: float | None
) -> str:
    """Say which contender to take, and what more accuracy would cost or a lower cost would lose.

    Args:
        choice: The outcome.
        metric: That chose.
        costs: Milliseconds a document, by name.
        limit_ms: The user's limit.
    """
    name, best, gap = choice.chosen.name, choice.best.name, choice.difference
    unit = "points of " + {"accuracy": "accuracy", "macro_f1": "macro-F1"}[metric]
    if gap is None:
        others = "" if limit_ms is None else f" within {limit_ms:g} ms a document"
        text = f"Take {name}: it has the highest figure{others}, and nothing cheaper is as good."
    else:
        ratio = costs.get(best, 0.0) / max(costs.get(name, 0.0), 1e-9)
        share = f" at 1/{ratio:,.0f} of the cost" if ratio >= _CHEAPER else ""
        text = (
            f"{name} is within {_points(gap.value)} {unit} (95 % interval {_ends(gap)}) of "
            f"{best}{share}: take {name}."
        )
        if verdict(gap) == "not told apart":
            text += (
                " The documents and splits do not tell the two apart; more of them, or a larger "
                "--budget, may."
            )
    if gap is not None and gap.splits == 1:
        text += " One split only: the luck of training is not in the interval."
    if choice.too_slow:
        slow = ", ".join(f"{item} ({costs.get(item, 0.0):,.1f} ms)" for item in choice.too_slow)
        text += f" Beyond the limit, with a higher figure: {slow}."
    return text


def describe_price(
    better: str, gap: Difference, costs: Mapping[str, float], chosen: str, metric: Metric
) -> str:
    """Say what the next better contender gives and costs."""
    ratio = costs.get(chosen, 0.0) / max(costs.get(better, 0.0), 1e-9)
    unit = {"accuracy": "accuracy", "macro_f1": "macro-F1"}[metric]
    return (
        f"Against {better}, it gains {_points(gap.value)} points of {unit} (95 % interval "
        f"{_ends(gap)}) for {ratio:,.1f} times the milliseconds."
    )


def describe_unseen(cheaper: str, figure: float, gap: Difference, chosen: str) -> str:
    """Say how a cheaper contender did on the documents that no selection saw."""
    told = (
        f"There {cheaper}, which costs less, has {100 * figure:.1f}: {chosen} is "
        f"{100 * gap.value:+.1f} points from it (95 % interval {_ends(gap)})"
    )
    if gap.low > 0:
        return f"{told}."
    if gap.high < 0:
        return f"{told}: {cheaper} is the sounder choice."
    return f"{told}, which does not tell them apart: {cheaper} is as sound a choice."


def _costs_no_more(rival: Standing, standing: Standing) -> bool:
    if rival.document_ms is None or standing.document_ms is None:
        return False
    return rival.document_ms <= _CHEAPER * standing.document_ms


def _dominates(
    truth: Truth, rival: Standing, standing: Standing, metric: Metric
) -> Difference | None:
    gap = compare(truth, rival.judged, standing.judged, metric)
    if gap is None or gap.value <= 0 or gap.interval(_DROPPED)[0] <= 0:
        return None
    (other,) = (name for name in METRICS if name != metric)
    beside = compare(truth, rival.judged, standing.judged, other)
    return gap if beside is not None and beside.value >= 0 else None


def _is_within(cost: float | None, limit_ms: float | None, served: bool) -> bool:
    """Tell whether a cost is within the limit; as it was trained, an export may still help."""
    if limit_ms is None:
        return True
    return cost is not None and cost <= (limit_ms if served else _EXPORT_GAIN * limit_ms)


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def _ends(gap: Difference) -> str:
    return f"{100 * gap.low:.1f} to {100 * gap.high:.1f}"
