"""The end of a bake-off: the choice as a bundle, measured as served, judged on unseen documents."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from longform import __version__
from longform.config import LINEAR, RunConfig
from longform.data.splits import Split
from longform.errors import LongformError
from longform.evaluation.intervals import wilson_interval
from longform.reporting import Reporter, describe_seconds
from longform.search.bakeoff.contenders import Contender
from longform.search.bakeoff.protocol import Protocol
from longform.search.bakeoff.records import Standing
from longform.search.bakeoff.selection import Choice, choose, metric_of
from longform.search.bakeoff.serving_cost import ServingCost, measure_bundle
from longform.search.bakeoff.statistics import (
    METRICS,
    Difference,
    Judged,
    Metric,
    Truth,
    compare,
    score,
)
from longform.search.bakeoff.training import TrainedContender, renumber, train_contender
from longform.search.result import TestFigures
from longform.search.watch import Checks
from longform.types import Document, Targets

BUNDLE_NAME = "bundle"
WORK_NAME = "work"

_REFERENCES = 2

Train = Callable[[RunConfig, tuple[Sequence[Document], Sequence[Document]], Path, Checks], Any]


class NoLimit:
    """Lets trainings run to their end."""

    def check(self) -> None:
        """Go on."""

    def report(self, epoch: int, value: float) -> None:
        """Go on."""


@dataclass(slots=True)
class Ending:
    """What the end came to.

    Attributes:
        choice: The selection, with the costs as served.
        costs: Of those whose bundle was measured, by name.
        figures: Of those that were judged on the unseen documents.
        gaps: Choice over each of the others there, by name and metric.
        bundle: The folder of the choice.
        failures: Why a finalist was left out.
    """

    choice: Choice
    costs: dict[str, ServingCost] = field(default_factory=dict)
    figures: dict[str, TestFigures] = field(default_factory=dict)
    gaps: dict[str, dict[str, Difference]] = field(default_factory=dict)
    bundle: Path | None = None
    failures: dict[str, str] = field(default_factory=dict)


class Finalists:
    """Trains those that are left on all compared documents, exports, measures and judges them.

    Args:
        protocol: The documents.
        config: Of the bake-off.
        folder: Where the bundle goes.
        metric: That chooses.
        reporter: Told how it goes.
    """

    def __init__(
        self,
        protocol: Protocol,
        config: RunConfig,
        folder: Path,
        metric: Metric,
        reporter: Reporter,
    ) -> None:
        self._protocol = protocol
        self._config = config
        self._folder = folder
        self._metric = metric
        self._reporter = reporter
        self._answers: dict[str, Targets] = {}
        self._costs: dict[str, ServingCost] = {}

    def finish(
        self, standings: Sequence[Standing], limit_ms: float | None, seconds_left: float
    ) -> Ending | None:
        """Choose, measure, judge, and write the bundle.

        Args:
            standings: All contenders.
            limit_ms: Most milliseconds a document, as served.
            seconds_left: Of the budget; the choice is finished beyond it, the models that it is
                judged beside are not begun.

        Returns:
            None when nobody can be chosen.
        """
        failures: dict[str, str] = {}
        left = list(standings)
        while True:
            choice = choose(
                self._protocol.truth, left, self._metric, limit_ms, self._served_costs()
            )
            if choice is None:
                return None
            name = choice.chosen.name
            if name in self._costs:
                break
            try:
                self._prepare(choice.chosen)
            except LongformError as error:
                failures[name] = " ".join(str(error).split())
                self._reporter.say(f"{name} cannot be finished: {failures[name]}")
                left = [item for item in left if item.name != name]
        ending = Ending(choice, failures=failures)
        for rival in self._references(choice, left):
            if 1.3 * (rival.split_seconds or 0.0) > seconds_left:
                self._reporter.say(
                    f"{rival.name} is not judged beside the choice: no time is left."
                )
                continue
            try:
                seconds_left -= self._prepare(rival)
            except LongformError as error:
                failures[rival.name] = " ".join(str(error).split())
        ending.costs = dict(self._costs)
        self._judge(ending)
        ending.bundle = self._write_bundle(ending, standings)
        shutil.rmtree(self._folder / WORK_NAME, ignore_errors=True)
        return ending

    def _served_costs(self) -> dict[str, float]:
        return {name: cost.served_ms for name, cost in self._costs.items()}

    def _references(self, choice: Choice, standings: Sequence[Standing]) -> list[Standing]:
        """Return whom the choice is judged beside: the best, and the best of the linear models."""
        found = [choice.best] if choice.best is not choice.chosen else []
        linear = [
            item
            for item in standings
            if item.judged and item.contender.settings.get("encoder") == LINEAR
        ]
        truth = self._protocol.truth
        found += sorted(linear, key=lambda item: -metric_of(truth, item, self._metric))[:1]
        named = {item.name: item for item in found if item.name != choice.chosen.name}
        return list(named.values())[:_REFERENCES]

    def _prepare(self, standing: Standing) -> float:
        """Train a finalist on all compared documents, export, measure and judge it."""
        reporter = self._reporter
        told = "" if standing.split_seconds is None else describe_seconds(standing.split_seconds)
        reporter.say(f"Finalist {standing.name}: trained, exported and measured (about {told}).")
        split = self._protocol.hold_out(self._protocol.documents)
        trained = self._train(standing.contender, split)
        target = self._folder / WORK_NAME / standing.contender.key
        trained.write(target, split.validation, self._folder / WORK_NAME / "exports", reporter)
        self._costs[standing.name] = measure_bundle(target, self._protocol.documents, reporter)
        if self._protocol.judges:
            answers = trained.predict(self._protocol.judges, NoLimit())
            labels = self._protocol.labels
            self._answers[standing.name] = renumber(answers, trained.labels, labels)
        return float(trained.summary.get("seconds", 0.0))

    def _train(self, contender: Contender, split: Split) -> TrainedContender:
        parts = (split.train, split.validation)
        config = contender.configure(self._config)
        return train_contender(config, parts, self._folder, NoLimit())

    def _judge(self, ending: Ending) -> None:
        """Judge the finalists on the documents that no selection saw."""
        judges = self._protocol.judges
        if not judges:
            return
        labels = self._protocol.labels
        places = np.arange(len(judges))
        truth = Truth(labels.targets(judges), places, len(labels))
        sides = {name: {0: Judged(places, found, 0)} for name, found in self._answers.items()}
        for name, side in sides.items():
            share = score(truth, side, "accuracy")
            interval = wilson_interval(round(share * len(judges)), len(judges))
            macro = score(truth, side, "macro_f1")
            ending.figures[name] = TestFigures(len(judges), share, interval, macro)
        chosen = ending.choice.chosen.name
        for name in sides.keys() - {chosen}:
            gaps = {item: compare(truth, sides[chosen], sides[name], item) for item in METRICS}
            ending.gaps[name] = {item: gap for item, gap in gaps.items() if gap is not None}

    def _write_bundle(self, ending: Ending, standings: Sequence[Standing]) -> Path:
        """Train the choice on all documents of the data and write it."""
        standing = ending.choice.chosen
        split = self._protocol.everything()
        self._reporter.say(
            f"Training {standing.name} on all documents, "
            f"{len(split.train):,} and {len(split.validation):,} to validate on."
        )
        trained = self._train(standing.contender, split)
        trained.summary["bakeoff"] = {
            "contender": standing.name,
            "contenders_judged": sum(bool(item.judged) for item in standings),
            "metric": self._metric,
            "judged_on_unseen": _figures(ending.figures.get(standing.name)),
            "longform_version": __version__,
        }
        target = self._folder / BUNDLE_NAME
        exports = self._folder / WORK_NAME / "exports-of-all"
        trained.write(target, split.validation, exports, self._reporter)
        return target


def cost_of(standing: Standing, costs: Mapping[str, ServingCost]) -> float | None:
    """Return the milliseconds a document as served where that was measured, else as trained."""
    cost = costs.get(standing.name)
    return standing.document_ms if cost is None else cost.served_ms


def _figures(figures: TestFigures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    return {
        "documents": figures.documents,
        "accuracy": figures.accuracy,
        "interval": list(figures.interval),
        "macro_f1": figures.macro_f1,
    }
