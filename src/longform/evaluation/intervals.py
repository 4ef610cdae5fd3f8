"""How far a measured share can be trusted. Knows nothing of classes and documents."""

from __future__ import annotations

import math
from statistics import NormalDist

_TWO_SIDED_95 = NormalDist().inv_cdf(0.975)
"""Standard deviations that hold 95 % of a normal distribution."""


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """Return the approximate 95 % interval of a share, by Wilson's score method.

    Unlike the textbook interval it stays within 0 and 1 and does not shrink to a point when every
    answer is right. It assumes that the documents were drawn independently from what is to be
    classified later.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
    Journal of the American Statistical Association 22 (1927).

    Args:
        hits: Cases that count, at most `trials`.
        trials: Cases in all; without any, nothing is known and the interval is `(0, 1)`.

    Returns:
        Lower and upper end, as fractions.
    """
    if trials == 0:
        return 0.0, 1.0
    share = hits / trials
    squared = _TWO_SIDED_95**2
    centre = (share + squared / (2 * trials)) / (1 + squared / trials)
    spread = share * (1 - share) / trials + squared / (4 * trials**2)
    half = _TWO_SIDED_95 / (1 + squared / trials) * math.sqrt(spread)
    # Rounding could put an end a hair beyond the share or beyond 0 and 1.
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))
