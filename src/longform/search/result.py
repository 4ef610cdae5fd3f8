"""The end of a search: the choice and the defaults, judged once on documents that it never saw."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from longform.config import RunConfig
from longform.evaluation import metrics
from longform.evaluation.intervals import wilson_interval
from longform.export.bundles import write_bundle
from longform.export.encoders import EncoderExports
from longform.reporting import Reporter
from longform.search.objective import scorer_of, train_once
from longform.search.trials import TrialRecord
from longform.training.fit import TrainedModel
from longform.types import Booleans, Document

BUNDLE_NAME = "best"
SETTINGS_NAME = "best.yaml"


@dataclass(frozen=True, slots=True)
class TestFigures:
    """How good a trained model is on the test documents.

    Attributes:
        interval: Approximate 95 % interval of the accuracy.
    """

    # Not a test case, whatever its name begins with.
    __test__ = False

    documents: int
    accuracy: float
    interval: tuple[float, float]
    macro_f1: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The choice beside the defaults, on the same test documents.

    Attributes:
        only_best: Documents that the choice alone got right.
        only_defaults: Documents that the defaults alone got right.
        p_value: Of the exact sign test on these: how often chance alone would give a difference as
            large, were both equally good.
    """

    best: TestFigures
    defaults: TestFigures
    only_best: int
    only_defaults: int
    p_value: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """All that a search came to.

    Attributes:
        metric: What the trials were chosen by.
        trials: All that finished, the first being the defaults.
        best: The one chosen.
        importances: Parameter -> its share in whether a trial was good.
        comparison: On the test documents.
        parts: Documents of the train, validation and test part.
        seconds: That the trials took.
        space: What was searched.
        bundle: The folder of the chosen model.
    """

    metric: str
    trials: tuple[TrialRecord, ...]
    best: TrialRecord
    importances: dict[str, float]
    comparison: Comparison
    parts: dict[str, int]
    seconds: float
    space: dict[str, Any]
    bundle: Path

    @property
    def defaults(self) -> TrialRecord:
        """The trial of the settings that the search began with."""
        return next(t for t in self.trials if t.start == "defaults" and t.value is not None)

    @property
    def keeps_defaults(self) -> bool:
        """Whether nothing better than the defaults was found."""
        return self.best.start == "defaults"

    def as_json(self) -> dict[str, Any]:
        """Return everything as one JSON object; shares are fractions of 1."""
        return {
            "bundle": str(self.bundle),
            "metric": self.metric,
            "trials_total": len(self.trials),
            "trials_pruned": sum(trial.value is None for trial in self.trials),
            "seconds": round(self.seconds, 1),
            "parts": self.parts,
            "best": self.best.as_dict(),
            "defaults": self.defaults.as_dict(),
            "keeps_defaults": self.keeps_defaults,
            "test": asdict(self.comparison),
            "importances": self.importances,
            "space": self.space,
            "trials": [trial.as_dict() for trial in self.trials],
        }


def finish(
    configs: tuple[RunConfig, RunConfig],
    parts: tuple[Sequence[Document], Sequence[Document], Sequence[Document]],
    folder: Path,
    account: dict[str, Any],
    reporter: Reporter,
) -> Comparison:
    """Train the choice and the defaults again, write the choice as a bundle and judge both.

    The choice learns from the train part alone, as in its trial, and the validation part chooses
    its best epoch: what is judged is what is written.

    Args:
        configs: The choice and the defaults.
        parts: Train, validation and test part.
        folder: Of the search; the bundle goes into it.
        account: What was read and searched, for the bundle's description.
        reporter: Told how it goes.

    Raises:
        ParityError: The export is not equal to the trained model.
    """
    train, validation, test = parts
    best, defaults = configs
    work = folder / "trial"
    trained = train_once(best, (train, validation), work, reporter)
    trained.summary.update(account)
    figures, right = judge(trained, test)
    exports = EncoderExports(
        trained.model, trained.encoder_digest if best.frozen else None, folder / "exports"
    )
    write_bundle(
        trained, validation, exports, folder / BUNDLE_NAME, overwrite=True, reporter=reporter
    )
    shutil.rmtree(folder / "exports", ignore_errors=True)
    if best == defaults:
        return Comparison(figures, figures, 0, 0, 1.0)
    reference = train_once(defaults, (train, validation), work, reporter)
    other_figures, other_right = judge(reference, test)
    wins, losses = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    return Comparison(figures, other_figures, wins, losses, sign_test(wins, losses))


def judge(trained: TrainedModel, documents: Sequence[Document]) -> tuple[TestFigures, Booleans]:
    """Judge a trained model on documents with labels.

    Returns:
        The figures, and bool `[docs]`: which it got right.
    """
    labels = trained.labels.targets(documents)
    predicted = trained.rule.decide(scorer_of(trained).score(documents).logits)
    right = metrics.right_answers(labels, predicted)
    hits, total = int(right.sum()), len(documents)
    macro = metrics.macro_f1(labels, predicted, len(trained.labels))
    return TestFigures(total, hits / total, wilson_interval(hits, total), macro), right


def write_settings(path: Path, config: RunConfig, told: str) -> None:
    """Write settings as a file for `longform train`: what differs from the defaults of longform."""
    paths = {"data", "validation", "output_dir", "checkpoint_storage"}
    content = config.model_dump(mode="json", exclude_defaults=True, exclude=paths)
    body = yaml.safe_dump(content, allow_unicode=True, sort_keys=False) if content else ""
    comment = "".join(f"# {line}\n" for line in told.splitlines())
    path.write_text(comment + body, encoding="utf-8")


def read_comparison(told: dict[str, Any]) -> Comparison:
    """Return a comparison from what `SearchResult.as_json` made of it."""
    figures = {
        name: TestFigures(**{**told[name], "interval": tuple(told[name]["interval"])})
        for name in ("best", "defaults")
    }
    return Comparison(**{**told, **figures})


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the exact sign test (McNemar's, on small numbers)."""
    total = wins + losses
    if not total:
        return 1.0
    tail = sum(math.comb(total, count) for count in range(min(wins, losses) + 1)) / 2**total
    return min(1.0, 2 * tail)
