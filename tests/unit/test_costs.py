"""Costs of mistakes: read from files, and the cheapest answer."""

import json

import numpy as np
import pytest

from longform.decision.costs import Costs, read_costs
from longform.decision.rule import DecisionRule
from longform.errors import InputError

NAMES = ("approve", "deny", "ask")


def test_csv_and_json_say_the_same(tmp_path):
    table = tmp_path / "costs.csv"
    table.write_text("true,deny,approve,reject\napprove,2,,0.5\ndeny,,10,0.5\nask,,,0.5\n")
    object_ = tmp_path / "costs.json"
    named = {"approve": {"deny": 2}, "deny": {"approve": 10}}
    object_.write_text(json.dumps({"costs": named, "reject": 0.5}))
    one, two = read_costs(table, NAMES), read_costs(object_, NAMES)
    assert one.matrix.tolist() == two.matrix.tolist() == [[0, 2, 1], [10, 0, 1], [1, 1, 0]]
    assert one.reject.tolist() == two.reject.tolist() == [0.5] * 3
    again = Costs.from_json(json.loads(json.dumps(one.as_json(NAMES))), NAMES)
    assert again.matrix.tolist() == one.matrix.tolist()
    assert again.reject.tolist() == one.reject.tolist()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"costs": {"aprove": {"deny": 1}}}', "aprove"),
        ('{"costs": {"approve": {"deny": -1}}}', "-1"),
        ('{"costs": {"approve": {"deny": true}}}', "True"),
        ('{"costs": {"approve": 3}}', "approve"),
        ('{"reject": {"approve": 1}}', "deny"),
        ('{"penalties": {}}', "penalties"),
        ("[]", "list"),
        ("{", "no JSON"),
    ],
)
def test_what_is_no_file_of_costs_is_refused(tmp_path, content, found):
    path = tmp_path / "costs.json"
    path.write_text(content)
    with pytest.raises(InputError, match=found):
        read_costs(path, NAMES)


def test_an_empty_table_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "costs.csv").write_text("true,approve\n")
    for name in ("costs.csv", "absent.csv"):
        with pytest.raises(InputError):
            read_costs(tmp_path / name, NAMES)


def test_a_dear_mistake_changes_the_answer():
    costs = Costs.from_json({"costs": {"deny": {"approve": 10}}}, NAMES)
    shares = np.array([[0.8, 0.15, 0.05], [0.95, 0.03, 0.02]], dtype=np.float32)
    # Approving costs 0.15 * 10 + 0.05 against 0.85 and 0.95; then 0.3 + 0.02 against 0.97.
    assert costs.cheapest(shares).tolist() == [1, 0]
    assert costs.expected(shares)[0] == pytest.approx([1.55, 0.85, 0.95])


def test_no_answer_is_cheaper_on_average_than_the_rule():
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.ones(3), 4_000)
    labels = (shares.cumsum(axis=1) < generator.random((4_000, 1))).sum(axis=1)
    content = {"costs": {"deny": {"approve": 6}, "ask": {"deny": 3}}, "reject": 0.4}
    costs = Costs.from_json(content, NAMES)
    paid = costs.paid(labels, costs.cheapest(shares), costs.rejects(shares)).mean()
    never = np.zeros(4_000, dtype=bool)
    assert paid < costs.paid(labels, shares.argmax(axis=1), never).mean()
    assert paid < costs.paid(labels, costs.cheapest(shares), never).mean()
    assert paid < 0.4


def test_chows_thresholds_follow_where_the_costs_allow():
    costs = Costs.from_json({"reject": 0.2}, NAMES)
    assert costs.thresholds() == pytest.approx([0.8] * 3)
    shares = np.array([[0.79, 0.21, 0], [0.81, 0.19, 0]], dtype=np.float32)
    assert costs.rejects(shares).tolist() == [True, False]
    # Wrongly approving costs four: it must be four times as sure.
    rows = {"deny": {"approve": 4}, "ask": {"approve": 4}}
    dear = Costs.from_json({"costs": rows, "reject": 0.2}, NAMES)
    assert dear.thresholds() == pytest.approx([0.95, 0.8, 0.8])
    assert (
        Costs.from_json({"costs": {"deny": {"approve": 4}}, "reject": 1}, NAMES).thresholds()
        is None
    )
    assert Costs.from_json({}, NAMES).thresholds() is None


def test_the_rule_names_the_cheapest_label_and_gives_up_where_that_is_cheaper():
    content = {"costs": {"deny": {"approve": 10}}, "reject": 0.9}
    settings = {"temperature": 1.0, "costs": content, "calibrated": True}
    rule = DecisionRule.from_settings(NAMES, "single_label_classification", settings)
    logits = np.log(np.array([[0.8, 0.15, 0.05], [0.95, 0.03, 0.02], [0.4, 0.3, 0.3]]))
    decision = rule.judge(logits.astype(np.float32))
    assert decision.best.tolist() == [1, 0, 1]
    assert decision.abstained.tolist() == [False, False, False]
    assert rule.decide(logits.astype(np.float32)).tolist() == [1, 0, 1]
    cheap = DecisionRule.from_settings(
        NAMES, "single_label_classification", {"costs": {**content, "reject": 0.5}}
    )
    assert cheap.judge(logits.astype(np.float32)).abstained.tolist() == [True, False, True]
    assert cheap.may_abstain
