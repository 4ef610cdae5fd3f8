"""The audit of a cascade: its level and its power, by simulation, and its bounded state."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longform.decision.audit import Audit, ShareTest, unsure_shares

RISK = 0.01


def _run(audit: Audit, margin: np.ndarray, exits: np.ndarray, wrong: np.ndarray) -> int | None:
    """Feed documents; return the audited exits at which it fired, or None."""
    for one, has_stopped, is_wrong in zip(margin, exits, wrong, strict=True):
        if audit.add(float(one), bool(is_wrong) if has_stopped else None):
            return audit.exits
    return None


def _documents(rng: np.random.Generator, count: int, foreign: float = 0.0):
    """Draw margins; of documents from elsewhere hardly any is sure, as was measured."""
    margin = rng.exponential(2.0, count)
    is_foreign = rng.random(count) < foreign
    margin[is_foreign] = rng.exponential(0.25, int(is_foreign.sum()))
    exits = margin >= 0.3
    # 0.95 % of all documents: as near to the bound as a certificate goes.
    wrong = exits & (rng.random(count) < 0.0095 / math.exp(-0.15))
    return margin, exits, wrong


@settings(max_examples=60, deadline=None)
@given(st.floats(0.002, 0.8), st.lists(st.booleans(), max_size=60))
def test_the_capital_is_a_martingale_at_the_bound(share, past):
    test = ShareTest(share)
    for hit in past:
        test.add(hit)
    now = math.exp(test.log_capital)
    hit, miss = ShareTest(share, test.trials, test.hits), ShareTest(share, test.trials, test.hits)
    hit.add(True)
    miss.add(False)
    after = share * math.exp(hit.log_capital) + (1 - share) * math.exp(miss.log_capital)
    assert after == pytest.approx(now, rel=1e-9)


def test_the_capital_begins_at_one_and_grows_only_with_evidence():
    test = ShareTest(RISK)
    assert test.log_capital == pytest.approx(0.0)
    for _ in range(500):
        test.add(False)
    assert test.log_capital < 0
    for _ in range(40):
        test.add(True)
    assert test.log_capital > math.log(1000)


def test_without_drift_it_stays_silent_though_the_risk_is_next_to_the_bound():
    rng = np.random.default_rng(3)
    fired = 0
    for _ in range(200):
        audit = Audit(RISK, unsure_shares(rng.exponential(2.0, 1000)))
        fired += _run(audit, *_documents(rng, 400)) is not None
    # Level 1 %: two expected at most; beyond seven lies one in a thousand.
    assert fired <= 7


def test_half_foreign_documents_are_found_within_a_hundred_audited_exits():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(100):
        audit = Audit(RISK, unsure_shares(rng.exponential(2.0, 1000)))
        found.append(_run(audit, *_documents(rng, 400, foreign=0.5)))
    in_time = sum(exits is not None and exits <= 100 for exits in found)
    assert in_time >= 90


def test_foreign_documents_that_are_sure_of_themselves_are_found_by_disagreements():
    rng = np.random.default_rng(5)
    found = []
    for _ in range(100):
        audit = Audit(RISK, unsure_shares(rng.exponential(2.0, 1000)))
        margin = rng.exponential(2.0, 130)
        found.append(_run(audit, margin, margin >= 0.3, rng.random(130) < 0.15))
    assert sum(exits is not None for exits in found) >= 90


def test_the_bounds_on_unsure_shares_hold_for_any_distribution():
    rng = np.random.default_rng(6)
    too_low = 0
    for _ in range(300):
        # Of few values: many ties.
        sample = np.round(rng.exponential(1.0, 300), 1)
        for record in unsure_shares(sample):
            # Rounded to 0.1, values below m are those drawn below m - 0.05.
            truth = 1 - math.exp(-max(record.margin - 0.05, 0.0))
            too_low += truth > record.share / 1.25
    assert too_low <= 5


def test_few_documents_give_wide_bounds_or_none():
    assert unsure_shares(np.array([])) == ()
    wide = unsure_shares(np.linspace(0, 1, 50))
    narrow = unsure_shares(np.linspace(0, 1, 5000))
    assert len(wide) <= len(narrow) == 4
    assert wide[0].share > narrow[0].share > 0.05


def test_what_was_seen_is_said_and_a_fired_audit_stays_fired():
    audit = Audit(RISK, unsure_shares(np.linspace(0, 10, 1000)))
    while not audit.add(0.01, True):
        assert audit.documents < 50
    assert audit.has_fired
    assert audit.add(9.0, False)
    said = audit.describe()
    assert f"{audit.disagreements} of {audit.documents} audited documents" in said
    assert "margin was below" in said
