from __future__ import annotations

import json

import optuna
import pytest

from longform.cli.checks import parse_duration
from longform.config import RunConfig
from longform.errors import ConfigError, InputError
from longform.reporting import Reporter
from longform.search.result import sign_test
from longform.search.space import Choices, Parameter, Range, Space
from longform.search.study import JOURNAL_NAME, open_study
from longform.search.trials import best_trial, importances, pareto, read_trials
from longform.search.tuning import Limits, Start, Tuning, describe_trial
from longform.search.watch import Measured

SPACE = Space(
    (
        Parameter("aggregator", Choices(("attention", "mean", "max"))),
        Parameter("dropout", Range(0.0, 0.5, 0.1)),
        Parameter("learning_rate", Range(1e-3, 3e-2, log=True)),
    )
)
IDENTITY = {"settings": {"seed": 42}, "documents": {"train": "abc", "test": "def"}}


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Listener(Reporter):
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


def quality(config: RunConfig) -> float:
    """What trials reach: attention matters most, dropout little."""
    return {"attention": 0.4, "mean": 0.6, "max": 0.9}[config.aggregator] - 0.1 * config.dropout


def trainer(clock, seconds=1.0, epochs=3):
    def train(config, watch):
        for epoch in range(1, epochs + 1):
            clock.now += seconds
            watch.report(epoch, quality(config) * epoch / epochs)
        return Measured(quality(config), 2.0)

    return train


def tune(study, clock=None, *, trials=None, seconds=None, space=SPACE, train=None, seed=42):
    clock = clock or Clock()
    config = RunConfig(seed=seed)
    settings = {**config.model_dump(), "learning_rate": 5e-3}
    listener = Listener()
    tuning = Tuning(
        study,
        space,
        [Start("defaults", config, settings)],
        Limits(seconds, trials),
        listener,
        clock,
    )
    return tuning.run(train or trainer(clock)), listener.lines


def settings_of(trials):
    return [trial.settings for trial in trials]


@pytest.fixture
def study(tmp_path):
    with open_study(tmp_path / "search", IDENTITY) as opened:
        yield opened


def test_the_first_trial_is_the_defaults_and_the_best_is_no_worse(study):
    trials, lines = tune(study, trials=12)
    assert len(trials) == 12
    assert trials[0].start == "defaults"
    assert trials[0].settings == {"aggregator": "attention", "dropout": 0.1, "learning_rate": 5e-3}
    assert [trial.start for trial in trials[1:]] == [""] * 11
    best = best_trial(trials)
    assert best.settings["aggregator"] == "max"
    assert best.value > trials[0].value
    assert len(lines) == 12
    assert "defaults" in lines[0]


def test_the_same_seed_gives_the_same_trials(tmp_path):
    found = []
    for name, seed in (("a", 42), ("b", 42), ("c", 7)):
        with open_study(tmp_path / name, IDENTITY) as opened:
            found.append(settings_of(tune(opened, trials=12, seed=seed)[0]))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_an_interrupted_search_goes_on_as_it_would_have(tmp_path):
    with open_study(tmp_path / "whole", IDENTITY) as opened:
        whole, _ = tune(opened, trials=14)

    clock, calls = Clock(), []

    def killed(config, watch):
        calls.append(config)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return trainer(clock)(config, watch)

    folder = tmp_path / "parts"
    with open_study(folder, IDENTITY) as opened, pytest.raises(KeyboardInterrupt):
        tune(opened, clock, trials=14, train=killed)
    # And a line that the killed process did not finish.
    with (folder / JOURNAL_NAME).open("ab") as file:
        file.write(b'{"op_code":6,"wor')
    with open_study(folder, IDENTITY) as opened:
        assert len(read_trials(opened)) == 5
        parts, _ = tune(opened, clock, trials=14)
        states = [trial.state for trial in opened.get_trials(deepcopy=False)]
    assert states.count(optuna.trial.TrialState.FAIL) == 1
    assert optuna.trial.TrialState.RUNNING not in states
    assert settings_of(parts) == settings_of(whole)


def test_hopeless_trials_are_pruned_and_none_of_the_first_five(study):
    trials, lines = tune(study, trials=20)
    pruned = [trial for trial in trials if trial.state == "pruned"]
    assert pruned
    assert min(trial.number for trial in pruned) >= 5
    assert all(trial.reason.startswith("below the median at epoch") for trial in pruned)
    assert all(max(trial.curve) < 3 or trial.reason.endswith("3") for trial in pruned)
    assert any("pruned" in line for line in lines)


def test_the_budget_ends_the_trial_that_is_running(study):
    clock = Clock()
    trials, _ = tune(study, clock, seconds=10.5)
    assert clock.now == pytest.approx(11)
    assert [trial.state for trial in trials] == ["complete"] * 3 + ["pruned"]
    assert trials[-1].reason == "the budget was spent"
    # A larger budget goes on; the seconds of before count.
    more, _ = tune(study, clock, seconds=20)
    assert clock.now == pytest.approx(20)
    assert len(more) > len(trials)
    again, _ = tune(study, clock, seconds=20)
    assert len(again) == len(more)


def test_defaults_that_the_budget_cut_are_tried_again(study):
    clock = Clock()
    trials, _ = tune(study, clock, seconds=2)
    assert [(trial.start, trial.state) for trial in trials] == [("defaults", "pruned")]
    more, _ = tune(study, clock, seconds=12)
    assert [trial.start for trial in more][:2] == ["defaults", "defaults"]
    assert more[1].state == "complete"


def test_settings_that_do_not_fit_each_other_are_pruned_with_the_reason(study):
    space = Space(
        (
            Parameter("segment_length", Choices((32, 64, 128))),
            Parameter("overlap", Choices((0, 30, 60))),
        )
    )
    trials, _ = tune(study, trials=8, space=space, train=lambda config, watch: Measured(0.5))
    wrong = [t for t in trials if t.settings.get("overlap", 0) > t.settings["segment_length"] // 2]
    assert wrong
    for trial in wrong:
        assert trial.state == "pruned"
        assert "overlap must be at most half of segment_length" in trial.reason


def test_a_small_space_is_searched_whole_and_nothing_twice(study):
    space = Space((Parameter("aggregator", Choices(("attention", "mean", "max"))),))
    trials, lines = tune(study, trials=50, space=space)
    assert sorted(trial.settings["aggregator"] for trial in trials) == ["attention", "max", "mean"]
    assert lines[-1] == "All combinations of the space have been tried."


def test_what_the_defaults_cannot_do_is_told_at_once(study):
    def refuse(config, watch):
        raise ConfigError("No.", found="this", fix="Not so.")

    with pytest.raises(ConfigError, match=r"No\."):
        tune(study, trials=5, train=refuse)
    # A later trial that fails is one of many.
    clock = Clock()

    def refuse_max(config, watch):
        if config.aggregator == "max":
            raise ConfigError("No.", found="max", fix="Not so.")
        return trainer(clock)(config, watch)

    trials, _ = tune(study, clock, trials=8, train=refuse_max)
    refused = [trial for trial in trials if trial.settings["aggregator"] == "max"]
    assert refused
    assert all(trial.reason == "No. Found: max. Not so." for trial in refused)


def test_what_decides_comes_out_most_important(study):
    tune(study, trials=30)
    shares = importances(study)
    assert next(iter(shares)) == "aggregator"
    assert shares["aggregator"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)


def test_parameters_of_some_trials_are_judged_by_these(study):
    space = Space(
        (
            Parameter("aggregator", Choices(("attention", "max"))),
            Parameter("dropout", Range(0.0, 0.5, 0.1), {"aggregator": ("max",)}),
            Parameter("weight_decay", Range(0.0, 0.1, 0.01)),
        )
    )

    def train(config, watch):
        if config.aggregator == "max":
            return Measured(0.9 - 0.2 * config.dropout)
        return Measured(0.4)

    tune(study, trials=30, space=space, train=train)
    shares = importances(study)
    assert list(shares)[:2] == ["aggregator", "dropout"]
    assert shares["weight_decay"] < 0.1


def test_few_trials_say_nothing_of_importance(study):
    tune(study, trials=4)
    assert importances(study) == {}


def test_the_front_holds_what_no_other_beats(study):
    trials, _ = tune(study, trials=12)
    front = pareto(trials, "seconds")
    best = best_trial(trials)
    complete = [trial for trial in trials if trial.value is not None]
    for trial in complete:
        beaten = any(
            other.value >= trial.value
            and other.seconds <= trial.seconds
            and (other.value, -other.seconds) != (trial.value, -trial.seconds)
            for other in complete
        )
        assert not (beaten and trial.number in front)
    assert any(trial.value == best.value for trial in complete if trial.number in front)


def test_a_search_of_something_else_is_refused_by_name(tmp_path):
    with open_study(tmp_path / "search", IDENTITY):
        pass
    other = {"settings": {"seed": 42}, "documents": {"train": "abc", "test": "xyz"}}
    with (
        pytest.raises(InputError, match=r"differs in documents \(test\).*--restart"),
        open_study(tmp_path / "search", other),
    ):
        pass
    with open_study(tmp_path / "search", other, restart=True) as opened:
        assert read_trials(opened) == []
    record = json.loads((tmp_path / "search" / "search.json").read_text(encoding="utf-8"))
    assert record == other


def test_two_searches_never_share_a_folder(tmp_path):
    with (
        open_study(tmp_path / "search", IDENTITY),
        pytest.raises(InputError, match="another one at work"),
        open_study(tmp_path / "search", IDENTITY),
    ):
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it", encoding="utf-8")
    with pytest.raises(InputError, match="never deletes"), open_study(tmp_path, IDENTITY):
        pass
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_trial_is_one_line(study):
    trials, _ = tune(study, trials=8)
    for trial in trials:
        assert "\n" not in describe_trial(trial, best_trial(trials))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("20m", 1_200), ("1h30m", 5_400), ("45", 45), ("0.5h", 1_800), (" 2M ", 120)],
)
def test_a_budget_is_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "20 minutes", "-3m", "0s", "5d", "1m2"])
def test_a_budget_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="a time above 0"):
        parse_duration(text)


def test_the_sign_test_is_exact():
    # 1 to 9: two tails of (1 + 10) / 1024.
    assert sign_test(1, 9) == pytest.approx(22 / 1_024)
    assert sign_test(5, 5) == 1.0
    assert sign_test(0, 0) == 1.0
