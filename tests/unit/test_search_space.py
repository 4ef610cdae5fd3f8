from __future__ import annotations

import pytest
import yaml

from longform.config import RunConfig
from longform.errors import ConfigError, InputError
from longform.search.costs import EncoderCost
from longform.search.defaults import default_space, filled_in, starts
from longform.search.space import Choices, Parameter, Range, Space
from longform.search.space_file import parse_space, read_space


class FirstOfAll:
    """A trial that takes the first choice and the lower end, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def suggest_categorical(self, name, choices):
        self.asked.append(name)
        return choices[0]

    def suggest_float(self, name, low, high, *, step=None, log=False):
        self.asked.append(name)
        return low

    suggest_int = suggest_float


def parse(text: str, **config) -> Space:
    return parse_space(yaml.safe_load(text), RunConfig(**config))


def test_a_space_is_lists_ranges_and_conditions():
    space = parse(
        """
        aggregator: [mean, lstm]
        aggregator_hidden: {low: 32, high: 128, step: 32, when: {aggregator: lstm}}
        learning_rate: {low: 1e-4, high: 1e-2, log: true}
        cleaning: {choices: [[], [html, urls]]}
        """
    )
    domains = {parameter.key: parameter.domain for parameter in space.parameters}
    assert domains["aggregator"] == Choices(("mean", "lstm"))
    assert domains["aggregator_hidden"] == Range(32, 128, 32)
    # YAML 1.1 reads 1e-4 as a text.
    assert domains["learning_rate"] == Range(1e-4, 1e-2, log=True)
    assert domains["aggregator_hidden"].is_whole
    assert not domains["learning_rate"].is_whole
    trial = FirstOfAll()
    drawn = space.draw(trial, RunConfig())
    assert drawn == {"aggregator": "mean", "learning_rate": 1e-4, "cleaning": []}
    assert "aggregator_hidden" not in trial.asked


def test_all_faults_of_a_space_are_told_together():
    with pytest.raises(ConfigError) as caught:
        parse(
            """
            agregator: [mean]
            dropout: {low: 0.5, high: 0.1}
            segment_length: [4, 128]
            bag_dimension: 64
            seed: [1, 2]
            weight_decay: {low: 0.0, high: 0.1, log: true}
            lstm_hidden: {low: 8, hi: 16}
            overlap: []
            bag_buckets: {choices: [7, 11], when: {aggregator: [gru]}}
            """
        )
    told = caught.value.found
    for fault in (
        "unknown key 'agregator', did you mean 'aggregator'?",
        "dropout: low must be less than high",
        "segment_length: input should be greater than or equal to 8 (found 4)",
        "bag_dimension: a list of values or a range is needed (found 64)",
        "seed must be the same in all trials",
        "weight_decay: with log, low is above 0",
        "aggregator_hidden: unknown part 'hi'",
        "overlap: at least one value is needed",
        "bag_buckets: when asks for aggregator 'gru', which no key above it gives",
    ):
        assert fault in told


@pytest.mark.parametrize("text", ["", "[a, b]", "just words"])
def test_what_is_no_mapping_is_refused(text):
    with pytest.raises(ConfigError, match="must map keys to values"):
        parse_space(yaml.safe_load(text), RunConfig())


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="can be read"):
        read_space(tmp_path / "none.yaml", RunConfig())


def test_a_range_holds_what_it_could_draw():
    tenths = Range(0.0, 0.5, 0.1)
    assert tenths.holds(0.3)
    assert not tenths.holds(0.25)
    assert not tenths.holds(0.6)
    assert not Range(1, 5).holds(2.5)
    assert Range(1, 5).holds(5.0)
    assert not Range(1, 5).holds(None)
    assert not Choices((0, 1)).holds(True)


def test_steps_are_written_without_noise():
    class Noisy(FirstOfAll):
        def suggest_float(self, name, low, high, *, step=None, log=False):
            return 0.30000000000000004

    assert Range(0.0, 0.5, 0.1).suggest(Noisy(), "dropout") == 0.3


def test_the_default_space_leaves_what_was_set():
    searched = {parameter.key for parameter in default_space(RunConfig(), (), ()).parameters}
    assert {"aggregator", "learning_rate", "segment_length", "bag_dimension"} <= searched
    kept = default_space(RunConfig(aggregator="mean", learning_rate=0.01), (), ())
    assert not {"aggregator", "learning_rate"} & {item.key for item in kept.parameters}


def test_the_defaults_lie_in_the_default_space():
    config = RunConfig()
    space = default_space(config, (), ())
    assert set(space.fixed(filled_in(config))) == {
        parameter.name for parameter in space.parameters if parameter.counts(filled_in(config))
    }


@pytest.mark.parametrize(
    ("budget", "frozen", "varied"), [(10_000, {True, False}, True), (300, {True}, False)]
)
def test_an_encoder_is_fine_tuned_only_where_the_budget_allows(budget, frozen, varied):
    cost = EncoderCost("models/e5", encoding_seconds=60, tuning_seconds=900, budget_seconds=budget)
    assert cost.may_be_tuned == (False in frozen)
    assert ("left out" in cost.describe()) == (False not in frozen)
    space = default_space(RunConfig(), ("models/e5",), (cost,))
    assert space.values_of("encoder") == ("bag", "models/e5")
    assert set(space.values_of("frozen")) == frozen
    assert ("token_pooling" in {item.key for item in space.parameters}) == varied
    # Drawing `bag` asks for nothing of a pretrained encoder.
    trial = FirstOfAll()
    assert space.draw(trial, RunConfig())["encoder"] == "bag"
    assert not any("frozen" in name or "pooling" in name for name in trial.asked)


def test_a_search_begins_with_the_defaults_and_each_encoder_frozen():
    begin = starts(RunConfig(), ("models/e5",))
    assert [start.name for start in begin] == ["defaults", "models/e5, frozen"]
    assert begin[0].config == RunConfig()
    assert begin[1].settings["frozen"] is True
    assert begin[1].settings["learning_rate"] == 1e-3


def test_parameters_of_one_key_have_names_of_their_own():
    cost = EncoderCost("e5", 1, 1, None)
    names = [item.name for item in default_space(RunConfig(), ("e5",), (cost,)).parameters]
    assert len(names) == len(set(names))
    assert Parameter("learning_rate", Range(1, 2), note="bag").name == "learning_rate (bag)"
