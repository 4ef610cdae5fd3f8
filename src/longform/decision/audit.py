"""Whether the promise of a cascade still holds for what comes in: a test that may look any time.

One document in a hundred is audited: those that stopped early are also put to the last step. Two
things are watched, by the same kind of test:

* the share of documents that stopped early with another answer than the last step's, which was
  certified to be at most epsilon;
* the share of documents of which the first step is unsure (its margin is below a low quantile of
  the certifying documents). Documents of another kind seldom stop early, so that they seldom show
  as disagreements; but they are unsure far more often, and a certificate says nothing of them.

Each is a hypothesis "the share is at most p0", tested by betting against it: the likelihood ratio
of a greater share p1 to p0, averaged over a few p1. While the hypothesis holds, that capital is a
supermartingale that begins at 1, and so ever reaches c with probability 1/c at most (J. Ville,
1939; I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting",
2024): one may look after every document. An average of such capitals is one again (V. Vovk and
R. Wang, "E-values: Calibration, combination and applications", 2021), which combines the tests
without a loss of level. The state is two counts for each hypothesis, however long it runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longform.decision.binomial import upper_bound
from longform.decision.certificate import UnsureRecord
from longform.decision.exits import Doubles

LEVEL = 0.01
"""Probability of ever switching off a cascade that keeps its promise."""

RATE = 0.01
"""Share of documents that is audited."""

_ODDS = (1.5, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Bets: the share's odds are so many times those of the hypothesis."""

_QUANTILES = (0.05, 0.1, 0.25, 0.5)
"""Of the first step's margin, below which a document counts as unsure."""

_BOUND_ERROR = 0.0005
"""Probability that one of the bounds on these shares does not hold: taken off the level."""

AUDIT_TOLERANCE = 1.25
"""Growth of the share of unsure documents that is let pass: small changes come and go."""

_DISAGREEMENT_WEIGHT = 0.5
"""Of the average capital; the other half is shared among the quantiles."""


def unsure_shares(margin: Doubles) -> tuple[UnsureRecord, ...]:
    """Bound the share of documents below some quantiles of the first step's margin.

    The k-th smallest of n margins has, but for an error of 0.05 %, at most a share of later
    documents below it that is the Clopper-Pearson bound of k - 1 in n: whatever the distribution.

    Args:
        margin: float64 `[docs]`, of the certifying documents.

    Returns:
        Those with a share that leaves room for more; none where there are too few documents.
    """
    ranked = np.sort(margin)
    records = []
    for quantile in _QUANTILES:
        rank = math.ceil(quantile * len(ranked))
        if rank < 1:
            continue
        bound = upper_bound(rank - 1, len(ranked), 1 - _BOUND_ERROR)
        share = AUDIT_TOLERANCE * bound
        if share < 0.9:
            records.append(UnsureRecord(margin=float(ranked[rank - 1]), share=share))
    return tuple(records)


@dataclass(slots=True)
class ShareTest:
    """An anytime-valid test that a share is at most `most`.

    Attributes:
        most: The share of the hypothesis, p0.
        trials: Documents seen.
        hits: Those that count.
    """

    most: float
    trials: int = 0
    hits: int = 0

    def add(self, hit: bool) -> None:
        """Count one document."""
        self.trials += 1
        self.hits += hit

    @property
    def log_capital(self) -> float:
        """Logarithm of what betting against the hypothesis has come to; 0 at the beginning."""
        odds = self.most / (1 - self.most)
        logs = []
        for factor in _ODDS:
            # A share of factor * odds: the two ratios of its likelihood to that of the hypothesis.
            miss = math.log((1 + odds) / (1 + factor * odds))
            logs.append(self.hits * (math.log(factor) + miss) + (self.trials - self.hits) * miss)
        return _log_mean(logs)


class Audit:
    """Watches a cascade, and says when it must be switched off.

    Args:
        risk: The certified bound on the share of early exits that disagree.
        unsure: Bounds of the certificate; empty watches disagreements alone.
        level: Probability of ever switching off while nothing has changed.
    """

    def __init__(
        self, risk: float, unsure: Sequence[UnsureRecord] = (), level: float = LEVEL
    ) -> None:
        self.disagreement = ShareTest(risk)
        self.unsure = [(record.margin, ShareTest(record.share)) for record in unsure]
        self.exits = 0
        self.has_fired = False
        self._needed = -math.log(level - _BOUND_ERROR * len(self.unsure))

    @property
    def documents(self) -> int:
        """Documents audited."""
        return self.disagreement.trials

    @property
    def disagreements(self) -> int:
        """Exits of which the last step thought otherwise."""
        return self.disagreement.hits

    @property
    def log_capital(self) -> float:
        """Logarithm of the average capital of all tests; it fires at about ln 100."""
        if not self.unsure:
            return self.disagreement.log_capital
        rest = _log_mean([test.log_capital for _, test in self.unsure])
        return float(
            np.logaddexp(
                math.log(_DISAGREEMENT_WEIGHT) + self.disagreement.log_capital,
                math.log(1 - _DISAGREEMENT_WEIGHT) + rest,
            )
        )

    def add(self, margin: float, disagrees: bool | None) -> bool:
        """Take note of an audited document.

        Args:
            margin: The first step's.
            disagrees: Whether the last step answers otherwise; None of a document that did not
                stop early: the last step's answer was given.

        Returns:
            Whether the cascade must be switched off from now on.
        """
        self.exits += disagrees is not None
        self.disagreement.add(bool(disagrees))
        for least, test in self.unsure:
            test.add(margin < least)
        # What speaks for the hypotheses cannot make the capital grow.
        speaks_against = bool(disagrees) or any(margin < least for least, _ in self.unsure)
        if speaks_against and self.log_capital >= self._needed:
            self.has_fired = True
        return self.has_fired

    def describe(self) -> str:
        """Say what was seen, for the log."""
        parts = [
            f"{self.disagreements} of {self.documents} audited documents ({self.exits} of them "
            f"stopped early) were answered otherwise by the last stage; at most "
            f"{100 * self.disagreement.most:g} % was certified"
        ]
        for least, test in self.unsure:
            if test.trials and test.hits / test.trials > test.most:
                parts.append(
                    f"the first stage's margin was below {least:.3g} for "
                    f"{100 * test.hits / test.trials:.0f} % of them, against at most "
                    f"{100 * test.most:.0f} %"
                )
        return "; ".join(parts)


def _log_mean(logs: Sequence[float]) -> float:
    most = max(logs)
    return most + math.log(sum(math.exp(log - most) for log in logs) / len(logs))
