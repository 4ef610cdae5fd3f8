from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from longform.config import RunConfig
from longform.errors import ConfigError, InputError
from longform.reporting import Reporter
from longform.search.bakeoff.contenders import (
    MAJORITY,
    Contender,
    default_contenders,
    gather,
    parse_contender,
    read_contenders,
)
from longform.search.bakeoff.protocol import Protocol
from longform.search.bakeoff.records import Attempt, Records, Standing
from longform.search.bakeoff.schedule import Estimate, Limits, Schedule
from longform.search.bakeoff.selection import (
    choose,
    describe_choice,
    describe_unseen,
    drop_dominated,
    front,
)
from longform.search.bakeoff.statistics import Difference, Truth
from longform.types import Document

DOCUMENTS = 1_000
TRUTH = Truth(np.arange(DOCUMENTS) % 2, np.arange(DOCUMENTS), 2)


def standing(name: str, wrong: int, cost: float, first: int = 0, splits: int = 1) -> Standing:
    """A contender that is wrong on so many documents from the first one on."""
    made = Standing(Contender(name, "for a test"))
    answers = TRUTH.labels.copy()
    answers[first : first + wrong] ^= 1
    for number in range(splits):
        attempt = Attempt(name, number, "done", 2.0, "", answers, 4_000, cost)
        made.add(attempt, np.arange(DOCUMENTS))
    return made


def test_the_cheaper_of_two_equals_is_chosen_and_said_so_plainly():
    linear, tuned = standing("linear", 52, 0.5), standing("tuned", 50, 30.0, first=5)
    choice = choose(TRUTH, [linear, tuned], "accuracy")
    assert (choice.chosen.name, choice.best.name) == ("linear", "tuned")
    told = describe_choice(choice, "accuracy", {"linear": 0.5, "tuned": 30.0}, None)
    assert "linear is within 0.2 points of accuracy" in told
    assert "at 1/60 of the cost: take linear" in told


def test_the_better_one_is_chosen_where_the_evidence_is_there():
    linear, tuned = standing("linear", 90, 0.5), standing("tuned", 50, 30.0)
    choice = choose(TRUTH, [linear, tuned], "accuracy")
    assert choice.chosen.name == choice.best.name == "tuned"


def test_a_limit_of_latency_holds_for_what_was_measured_as_served():
    linear, tuned = standing("linear", 90, 0.5), standing("tuned", 50, 30.0)
    standings = [linear, tuned]
    # As it was trained it is beyond the limit, but an export may help.
    assert choose(TRUTH, standings, "accuracy", 10.0).chosen.name == "tuned"
    assert choose(TRUTH, standings, "accuracy", 10.0, {"tuned": 8.0}).chosen.name == "tuned"
    served = choose(TRUTH, standings, "accuracy", 10.0, {"tuned": 12.0})
    assert served.chosen.name == "linear"
    assert served.too_slow == ("tuned",)
    assert choose(TRUTH, standings, "accuracy", 1.0).chosen.name == "linear"
    assert choose(TRUTH, [tuned], "accuracy", 1.0) is None


def test_of_about_the_same_cost_the_better_figure_is_taken():
    small, large = standing("small", 60, 0.4), standing("large", 52, 0.7)
    assert choose(TRUTH, [small, large], "accuracy").chosen.name == "large"


def test_the_majority_is_never_chosen():
    assert choose(TRUTH, [standing(MAJORITY, 10, 0.0)], "accuracy") is None


def test_the_clearly_worse_are_out_and_the_doubtful_stay():
    good, bad, close = standing("good", 40, 1), standing("bad", 120, 1), standing("close", 46, 1)
    cheap = standing("cheap", 100, 0.1)
    told = drop_dominated(TRUTH, [good, bad, close, cheap], "accuracy")
    assert len(told) == 1
    assert "good is better by 8.0 points" in bad.out
    # The one is not clearly worse, the other costs less than what beats it.
    assert not close.out
    assert not cheap.out


def test_the_front_holds_what_nothing_beats_in_both():
    rows = [
        standing("a", 90, 0.1),
        standing("b", 50, 1),
        standing("c", 60, 2),
        standing("d", 40, 9),
    ]
    assert front(TRUTH, rows, "accuracy") == {"a", "b", "d"}


def test_contenders_of_the_table_fit_the_configuration_and_have_names_of_their_own():
    config = RunConfig()
    table = default_contenders(config, ["/models/e5", "/other/e5"])
    names = [contender.name for contender in table]
    assert len(set(names)) == len(names)
    assert {"majority", "linear", "bag-salient", "e5-stacked", "e5-static", "e5-tuned"} <= set(
        names
    )
    for contender in table:
        assert isinstance(contender.configure(config), RunConfig)
        assert contender.reason


def test_users_add_contenders_and_say_who_takes_part(tmp_path: Path):
    own = parse_contender("wide:encoder=bag,bag_dimension=256,cleaning=[html, urls]")
    assert own.settings["bag_dimension"] == 256
    assert list(own.settings["cleaning"]) == ["html", "urls"]
    path = tmp_path / "own.yaml"
    path.write_text("short: {encoder: bag, segment_length: 64, reason: quick}\n", encoding="utf-8")
    (short,) = read_contenders(path)
    assert (short.reason, short.settings) == ("quick", {"encoder": "bag", "segment_length": 64})
    table = gather(default_contenders(RunConfig(), []), [own, short], ["linear*", "wide"])
    assert table[0].name == MAJORITY
    assert {"linear", "linear-head", "wide"} <= {item.name for item in table}
    assert "short" not in {item.name for item in table}


@pytest.mark.parametrize("text", ["no-settings", "a b:encoder=bag", "x:encoder", ":encoder=bag"])
def test_malformed_contenders_are_refused(text):
    with pytest.raises(InputError, match="name:key=value"):
        parse_contender(text)


def test_settings_that_do_not_fit_are_refused_with_the_contender():
    with pytest.raises(ConfigError, match="'odd'"):
        Contender("odd", "", {"encoder": "bag", "frozen": True}).configure(RunConfig())
    with pytest.raises(InputError, match="--only"):
        gather(default_contenders(RunConfig(), []), [], ["nobody"])


def corpus(count: int = 60) -> list[Document]:
    return [
        Document(str(number), f"text {number} " * 9, "ab"[number % 2]) for number in range(count)
    ]


def make_protocol(count: int = 60, **settings) -> Protocol:
    config = RunConfig(near_duplicates="ignore", **settings)
    return Protocol(corpus(count), config, (), 0.2, Reporter())


def test_splits_are_the_same_for_all_and_judge_each_document_once_a_repetition():
    protocol = make_protocol()
    rounds = [protocol.round(number) for number in range(5)]
    assert sorted(np.concatenate([item.places for item in rounds]).tolist()) == list(range(60))
    for item in rounds:
        judged = {protocol.documents[place].id for place in item.places}
        learnt = {document.id for document in (*item.train, *item.validation)}
        assert not judged & learnt
        assert len(judged) + len(learnt) == 60
    again = make_protocol().round(3)
    assert again.places.tolist() == rounds[3].places.tolist()
    assert protocol.round(5).places.tolist() != rounds[0].places.tolist()


def test_judges_are_set_aside_where_they_are_enough():
    assert not make_protocol(60).judges
    large = make_protocol(600)
    assert len(large.judges) == 120
    assert not {item.id for item in large.judges} & {item.id for item in large.documents}
    assert len(large.everything().train) + len(large.everything().validation) == 600


def test_groups_stay_together_and_time_is_judged_forwards():
    documents = [
        Document(str(n), f"text {n} " * 9, "ab"[n % 2], fields={"g": str(n % 12), "t": str(n)})
        for n in range(96)
    ]
    grouped = Protocol(
        documents, RunConfig(near_duplicates="ignore", group_column="g"), (), 0.2, Reporter()
    )
    assert grouped.describe()["units"] == 12
    item = grouped.round(0)
    judged = {documents[place].fields["g"] for place in item.places}
    assert not judged & {document.fields["g"] for document in (*item.train, *item.validation)}
    timed = Protocol(
        documents, RunConfig(near_duplicates="ignore", time_column="t"), (), 0.2, Reporter()
    )
    assert timed.most_rounds == 4
    seen: set[int] = set()
    for number in range(4):
        item = timed.round(number)
        latest = max(int(document.fields["t"]) for document in (*item.train, *item.validation))
        assert latest < min(item.places)
        assert not seen & set(item.places.tolist())
        seen |= set(item.places.tolist())


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Course:
    """Trains nothing: contenders take their seconds and are wrong as often as they are told."""

    def __init__(self, clock, protocol, seconds, errors):
        self.clock, self.protocol = clock, protocol
        self.seconds, self.errors = seconds, errors
        self.kept = {}
        self.calls = []

    def __call__(self, contender, divided, deadline):
        self.calls.append((contender.name, divided.number))
        seconds = self.seconds[contender.name]
        if divided.number > 0:
            seconds -= self.kept.get(contender.name, 0.0)
        self.clock.now += seconds
        deadline.check()
        rng = np.random.default_rng([divided.number, len(contender.name)])
        answers = self.protocol.truth.labels[divided.places].copy()
        answers ^= rng.random(len(answers)) < self.errors[contender.name]
        kept = self.kept.get(contender.name, 0.0) if divided.number == 0 else 0.0
        return Attempt(
            contender.name,
            divided.number,
            "done",
            seconds,
            predicted=answers,
            trained=48,
            document_ms=1.0,
            encoding_seconds=kept,
        )


def run_schedule(
    tmp_path, seconds, errors, budget, splits=4, estimates=None, protocol=None, kept=None
):
    protocol = protocol or make_protocol(240)
    clock = Clock()
    course = Course(clock, protocol, seconds, errors)
    course.kept = kept or {}
    standings = [Standing(Contender(name, "")) for name in seconds]
    records = Records(tmp_path)
    limits = Limits(budget, splits)
    schedule = Schedule(protocol, standings, records, limits, "accuracy", Reporter(), clock)
    known = {
        name: told if isinstance(told, Estimate) else Estimate(told)
        for name, told in (estimates or {}).items()
    }
    whole = schedule.run(course, lambda contender: known.get(contender.name))
    return course, {item.name: item for item in standings}, whole


def test_what_the_judges_say_of_a_cheaper_one_is_told():
    equal = Difference(-0.005, 0.007, -0.019, 0.009, 0.47, 1, 997)
    told = describe_unseen("linear", 0.957, equal, "static")
    assert told == (
        "There linear, which costs less, has 95.7: static is -0.5 points from it (95 % interval "
        "-1.9 to 0.9), which does not tell them apart: linear is as sound a choice."
    )
    better = Difference(0.02, 0.007, 0.006, 0.034, 0.004, 1, 997)
    assert "sound" not in describe_unseen("linear", 0.957, better, "static")
    worse = Difference(-0.02, 0.007, -0.034, -0.006, 0.004, 1, 997)
    told = describe_unseen("linear", 0.957, worse, "static")
    assert told.endswith("(95 % interval -3.4 to -0.6): linear is the sounder choice.")


def test_each_gets_its_first_split_early_the_cheap_ones_first(tmp_path):
    seconds = {"slow": 30.0, "quick": 1.0, "middle": 5.0}
    errors = dict.fromkeys(seconds, 0.1)
    course, known, whole = run_schedule(tmp_path, seconds, errors, 1_000, 2, seconds)
    assert course.calls[:3] == [("quick", 0), ("middle", 0), ("slow", 0)]
    assert whole
    assert all(len(item.judged) == 2 for item in known.values())


def test_the_clearly_dominated_leave_their_time_to_the_others(tmp_path):
    seconds = {"good": 2.0, "bad": 2.0}
    _, known, _ = run_schedule(tmp_path, seconds, {"good": 0.02, "bad": 0.5}, 1_000)
    assert len(known["good"].judged) == 4
    assert len(known["bad"].judged) == 1
    assert "good is better" in known["bad"].out


def test_estimates_that_were_too_low_are_corrected_for_those_that_follow(tmp_path):
    seconds = {"first": 10.0, "second": 11.0, "third": 36.0}
    estimates = {"first": 2.0, "second": 2.1, "third": 9.0}
    errors = dict.fromkeys(seconds, 0.1)
    course, known, _ = run_schedule(tmp_path, seconds, errors, 80, 1, estimates)
    assert course.calls == [("first", 0), ("second", 0)]
    assert known["third"].out.startswith("skipped: its first split would take about 46 s")


def test_the_cheapest_of_each_kind_comes_before_the_second_of_another(tmp_path):
    seconds = {"bag": 10.0, "wide bag": 12.0, "frozen": 30.0, "wide frozen": 50.0}
    kinds = {name: Estimate(value, name.split()[-1]) for name, value in seconds.items()}
    errors = dict.fromkeys(seconds, 0.1)
    course, _, _ = run_schedule(tmp_path, seconds, errors, 1_000, 1, kinds)
    assert [name for name, _ in course.calls] == ["bag", "frozen", "wide bag", "wide frozen"]


def test_what_one_kind_took_beyond_its_estimate_says_nothing_of_another(tmp_path):
    seconds = {"bag": 10.0, "frozen": 12.0, "other bag": 36.0, "other frozen": 20.0}
    estimates = {
        "bag": Estimate(2.0, "bag"),
        "frozen": Estimate(11.0, "frozen"),
        "other bag": Estimate(12.0, "bag"),
        "other frozen": Estimate(19.0, "frozen"),
    }
    errors = dict.fromkeys(seconds, 0.1)
    course, known, _ = run_schedule(tmp_path, seconds, errors, 80, 1, estimates)
    assert course.calls == [("bag", 0), ("frozen", 0), ("other frozen", 0)]
    assert known["other bag"].out.startswith("skipped: its first split would take about 1 min")


def test_vectors_that_are_kept_cost_the_further_splits_nothing(tmp_path):
    seconds = {"frozen": 48.0, "tuned": 48.0}
    errors = dict.fromkeys(seconds, 0.1)
    kept = {"frozen": 46.0}
    _, known, _ = run_schedule(tmp_path, seconds, errors, 120, 4, seconds, kept=kept)
    assert len(known["frozen"].judged) == 4
    assert "tuned" not in kept
    assert len(known["tuned"].judged) < 4


def test_what_does_not_fit_is_skipped_and_said_before_it_begins(tmp_path):
    seconds = {"quick": 1.0, "huge": 90.0}
    errors = dict.fromkeys(seconds, 0.1)
    course, known, _ = run_schedule(tmp_path, seconds, errors, 100, 2, seconds)
    assert ("huge", 0) not in course.calls
    assert known["huge"].out.startswith("skipped: its first split would take about 1 min 30 s")
    assert len(known["quick"].judged) == 2


def test_the_budget_cuts_what_was_not_foreseen(tmp_path):
    seconds = {"quick": 1.0, "sudden": 800.0}
    errors = dict.fromkeys(seconds, 0.1)
    _, known, whole = run_schedule(tmp_path, seconds, errors, 1_500, 3)
    assert not whole
    # As it was cut at the next look at the clock, the other one had what was left.
    assert len(known["quick"].judged) == 3
    assert known["sudden"].attempts[0].state == "cut"
    assert not known["sudden"].judged


def test_an_interrupted_bakeoff_goes_on_without_doing_anything_twice(tmp_path):
    seconds = {"one": 2.0, "two": 3.0}
    errors = {"one": 0.1, "two": 0.12}
    first, _, _ = run_schedule(tmp_path, seconds, errors, 1_000, 2)
    second, known, _ = run_schedule(tmp_path, seconds, errors, 1_000, 4)
    assert not set(first.calls) & set(second.calls)
    assert sorted(known["one"].judged) == [0, 1, 2, 3]
    # What was spent before counts: nothing is left of as much as was taken.
    spent = 4 * (2.0 + 3.0)
    third, _, whole = run_schedule(tmp_path, seconds, errors, spent, 6)
    assert not third.calls
    assert not whole


def test_a_contender_that_fails_says_nothing_about_the_others(tmp_path):
    protocol = make_protocol(240)
    clock = Clock()
    course = Course(clock, protocol, {"well": 1.0, "ill": 1.0}, {"well": 0.1, "ill": 0.1})

    def judge(contender, divided, deadline):
        if contender.name == "ill":
            raise RuntimeError("no memory\nis left")
        return course(contender, divided, deadline)

    standings = [Standing(Contender(name, "")) for name in ("ill", "well")]
    records = Records(tmp_path)
    Schedule(protocol, standings, records, Limits(99, 2), "accuracy", clock=clock).run(
        judge, lambda contender: None
    )
    assert standings[0].out == "failed: no memory is left"
    assert len(standings[1].judged) == 2


def test_answers_of_several_labels_are_kept_as_they_were(tmp_path):
    answers = np.array([[True, False, True], [False, False, False]])
    contender = Contender("many", "", {"encoder": "bag"})
    records = Records(tmp_path)
    records.write(contender, Attempt("many", 0, "cut", 2.0))
    records.write(contender, Attempt("many", 0, "done", 1.0, "", answers, 7, 0.5))
    (attempt,) = records.read(contender, 3, several=True)
    assert attempt.predicted.tolist() == answers.tolist()
    assert records.spent() == pytest.approx(3.0)
    # Other settings are another contender, whatever its name.
    assert not records.read(Contender("many", "", {"encoder": "lstm"}), 3, several=True)
