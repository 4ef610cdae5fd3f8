"""A calibration on the screen, in words and figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from longform.reporting import counted

if TYPE_CHECKING:
    from longform.cli.calibration_run import CalibrationRun
    from longform.decision.binomial import RateInterval
    from longform.evaluation.reliability import CalibrationError

_SHOWN = 8


def print_calibration(run: CalibrationRun) -> None:
    """Print what was fitted, and what it is worth on the testing part."""
    scaling, bounding, testing = run.parts
    typer.echo(
        f"documents    {scaling:,} fitted the temperature, {bounding:,} the sets and the "
        f"threshold; all figures below are of {testing:,} others"
    )
    for line in (
        *_temperature(run),
        *_errors(run),
        *_sets(run),
        *_abstention(run),
        *_costs(run),
    ):
        typer.echo(line)


def _temperature(run: CalibrationRun) -> Iterator[str]:
    fit = run.fitted.fit
    pooled = fit.temperatures.pooled
    if not fit.is_measured:
        yield "temperature  1: without a wrong answer among the documents it cannot be told"
        return
    told = "less" if pooled > 1 else "more"
    yield f"temperature  {pooled:.3f}: the model should be {told} certain than its own scores"
    if fit.temperatures.by_length:
        yield "             by length, which is better on documents left out:"
        for item in fit.temperatures.by_length:
            end = f"below {item.below:,} tokens" if item.below is not None else "longer"
            yield f"               {item.temperature:.3f}  {end}"
    elif fit.gain_by_length is not None:
        yield "             one for every length: by length is no better on documents left out"


def _errors(run: CalibrationRun) -> Iterator[str]:
    before, after = run.figures.before, run.figures.after
    yield (
        f"calibration  expected error {_error(before)} before, {_error(after)} now (what chance "
        "adds is taken off)"
    )


def _sets(run: CalibrationRun) -> Iterator[str]:
    sets = run.figures.sets
    if sets is None:
        return
    rule = run.fitted.rule
    held = "all true labels" if rule.is_multi_label else "the true label"
    yield (
        f"label sets   {held} in {_rate(sets.coverage)} of the sets; {100 * sets.requested:g} % "
        f"were asked for, {sets.mean_size:.2f} labels on average"
    )
    if run.fitted.sharing:
        named = ", ".join(run.fitted.sharing[:_SHOWN])
        more = len(run.fitted.sharing) - _SHOWN
        yield (
            f"             too few documents for a promise of their own: {named}"
            + (f" and {more} more" if more > 0 else "")
        )


def _abstention(run: CalibrationRun) -> Iterator[str]:
    figures, asked = run.figures.abstention, run.fitted.rule.abstention
    if figures is None:
        return
    if asked is not None and asked.max_error is not None and asked.confidence is not None:
        yield (
            f"answers      from a score of {asked.threshold:.4f} on, where at most "
            f"{100 * asked.max_error:g} % are wrong with {100 * asked.confidence:g} % confidence"
        )
    elif asked is not None and asked.min_coverage is not None:
        yield (
            f"answers      from a score of {asked.threshold:.4f} on, which "
            f"{100 * asked.min_coverage:g} % of the documents reach"
        )
    yield (
        f"             {_rate(figures.answered)} are answered, {_rate(figures.error)} of them "
        f"wrongly; were all answered, {_rate(figures.error_of_all)}"
    )


def _costs(run: CalibrationRun) -> Iterator[str]:
    figures, costs = run.figures.costs, run.fitted.rule.costs
    if figures is None or costs is None:
        return
    yield (
        f"costs        {figures.cheapest:.4f} a document; the likeliest label every time would "
        f"cost {figures.likeliest:.4f}"
    )
    least = costs.thresholds()
    if least is not None:
        shown = zip(run.fitted.rule.labels, least, strict=True)
        named = ", ".join(f"{name} {value:.3f}" for name, value in list(shown)[:_SHOWN])
        more = len(least) - _SHOWN
        yield (
            f"             least probabilities at which answering is worth it: {named}"
            + (f" and {counted(more, 'more label')}" if more > 0 else "")
        )


def _rate(interval: RateInterval) -> str:
    return f"{100 * interval.rate:.2f} % ({100 * interval.lower:.2f} to {100 * interval.upper:.2f})"


def _error(error: CalibrationError) -> str:
    return f"{100 * error.debiased:.2f} % ({100 * error.lower:.2f} to {100 * error.upper:.2f})"
