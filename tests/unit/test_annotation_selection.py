"""Which documents are picked, which passages are named, and how tasks are written."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_linear import FILLER, WORDS, documents, small

import longform
from longform.annotation.pool import gather_candidates
from longform.annotation.selection import SelectionPlan, select
from longform.annotation.strategies import (
    STRATEGIES,
    Candidates,
    check_strategy,
    pick,
    prioritize,
    uncertainty,
)
from longform.annotation.tasks import (
    as_doccano,
    as_label_studio,
    check_format,
    labelling_interface,
    write_tasks,
)
from longform.cli import main
from longform.data.readers import read_documents
from longform.decision.rule import DecisionRule
from longform.errors import InputError
from longform.export.linear_bundle import write_linear_bundle
from longform.training.linear import fit_linear
from longform.types import Document

RULE = DecisionRule(("甲", "乙", "丙"))
MULTI = DecisionRule(("甲", "乙"), "multi_label_classification", thresholds={"甲": 0.2})


def candidates(probabilities, vectors, priorities=None, clusters=None):
    probabilities = np.array(probabilities, dtype=np.float32)
    count = len(probabilities)
    if priorities is None:
        priorities = uncertainty("margin", probabilities, RULE)
    return Candidates(
        probabilities,
        np.array(vectors, dtype=np.float32),
        np.array(priorities, dtype=np.float64),
        np.arange(count) if clusters is None else np.array(clusters),
    )


def rng():
    return np.random.default_rng(0)


def test_uncertainty_is_largest_where_labels_are_level():
    rows = np.array([[1, 0, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3], [0.8, 0.1, 0.1]])
    assert uncertainty("margin", rows, RULE) == pytest.approx([0, 1, 1, 0.3])
    assert uncertainty("least-confidence", rows, RULE) == pytest.approx([0, 0.5, 2 / 3, 0.2])
    entropy = uncertainty("entropy", rows, RULE)
    assert entropy == pytest.approx([0, np.log(2) / np.log(3), 1, 0.5817], abs=1e-4)


def test_of_several_labels_the_one_nearest_to_its_threshold_counts():
    rows = np.array([[0.2, 0.0], [0.0, 0.5], [0.1, 1.0], [0.6, 0.0], [0.0, 0.0]])
    assert uncertainty("margin", rows, MULTI) == pytest.approx([1, 1, 0.5, 0.5, 0])


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda row: sum(row) > 0.1))
def test_measures_stay_between_nothing_and_one(row):
    shares = np.array([row]) / sum(row)
    for measure in ("margin", "entropy", "least-confidence"):
        assert -1e-9 <= uncertainty(measure, shares, RULE)[0] <= 1 + 1e-9


@given(st.integers(1, 12), st.sampled_from(STRATEGIES), st.integers(0, 3))
def test_no_strategy_picks_twice_or_near_copies(count, strategy, seed):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([1, 1, 1], 10).astype(np.float32)
    clusters = [0, 0, 0, 3, 4, 4, 6, 7, 8, 9]
    found = pick(
        strategy,
        candidates(
            probabilities,
            generator.normal(size=(10, 4)),
            prioritize(strategy, probabilities, RULE, generator),
            clusters,
        ),
        count,
        generator,
    )
    assert len(found) == min(count, 7)
    assert len({clusters[place] for place in found}) == len(found)


def test_margin_takes_the_least_certain_in_order():
    rows = [[0.9, 0.1, 0], [0.5, 0.5, 0], [0.7, 0.3, 0], [0.6, 0.4, 0]]
    assert pick("margin", candidates(rows, np.eye(4)), 3, rng()) == [1, 3, 2]


def test_diverse_takes_one_of_each_kind_where_margin_takes_one_kind():
    # Four documents of one kind, nearly alike, are the least certain; two other kinds follow.
    rows = [[0.5, 0.5, 0]] * 4 + [[0.55, 0.45, 0], [0.6, 0.4, 0]]
    vectors = [[1, 0, 0], [1, 0.01, 0], [1, 0, 0.01], [1, 0.01, 0.01], [0, 1, 0], [0, 0, 1]]
    table = candidates(rows, vectors)
    assert set(pick("margin", table, 3, rng())) == {0, 1, 2}
    assert set(pick("diverse", table, 3, rng())) == {0, 4, 5}
    assert {4, 5} < set(pick("k-center", table, 3, rng()))


def test_badge_draws_by_gradients():
    # All certain documents have one gradient, none at all, wherever they stand: one is drawn.
    rows = [[1, 0, 0]] * 5 + [[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.3, 0.3, 0.4]]
    vectors = [[9, 9], [9, -9], [-9, 9], [5, 5], [0, 9], [1, 0], [0, 1], [-1, 0]]
    for seed in range(5):
        found = pick("badge", candidates(rows, vectors), 4, np.random.default_rng(seed))
        assert {5, 6, 7} < set(found)


def test_identical_documents_do_not_stop_the_spread():
    table = candidates([[0.5, 0.5, 0]] * 3, np.ones((3, 2)))
    assert sorted(pick("diverse", table, 3, rng())) == [0, 1, 2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    target = tmp_path_factory.mktemp("select") / "bundle"
    validation = documents(30, seed=1)
    write_linear_bundle(fit_linear(small(), documents(60), validation), validation, target)
    return target


@pytest.fixture(scope="module")
def predictor(bundle):
    with longform.load(bundle) as opened:
        yield opened


def undecided(number, filler=20):
    """A long document that speaks for both labels, in sentences far apart."""
    drawn = np.random.default_rng(number + 100)
    body = ["".join(drawn.permutation(list(FILLER))) + "。" for _ in range(filler)]
    body.insert(3, WORDS["合同"] + "。")
    body.insert(filler - 2, WORDS["刑事"] + "。")
    return Document(f"u{number}", "".join(body))


def pool():
    """Easy documents, three hard ones, a copy of one of them, and one that cannot be read."""
    easy = [Document(f"e{i}", d.text) for i, d in enumerate(documents(40, seed=5))]
    hard = [undecided(number) for number in range(3)]
    copy = Document("copy", hard[0].text.replace("。", "。 ", 2))
    edited = Document("edited", hard[1].text[:-30] + "完。")
    return [*easy[:20], hard[0], Document("blank", "\ufeff"), copy, *easy[20:], *hard[1:], edited]


def test_hard_documents_are_found_once_each(predictor):
    found = select(predictor, pool(), SelectionPlan(3, "margin"))
    picked = [task.document.id for task in found.tasks]
    assert len(set(picked) & {"u0", "u1", "edited", "u2"}) == 3
    assert len(set(picked) & {"u1", "edited"}) == 1
    assert (found.counts.documents, found.counts.repeated, found.counts.unreadable) == (46, 1, 1)


def test_labelled_documents_and_their_near_copies_are_not_picked(predictor):
    known = [undecided(0), undecided(1)]
    found = select(predictor, pool(), SelectionPlan(10, "margin"), known)
    assert not {task.document.id for task in found.tasks} & {"u0", "copy", "u1", "edited"}
    # u0 and its copy but for white space, u1; then the edited one by its shingles.
    assert (found.counts.labelled, found.copies) == (3, 1)
    equal_only = select(predictor, pool(), SelectionPlan(10, "margin", near=False), known)
    assert "edited" in {task.document.id for task in equal_only.tasks}


def test_passages_hold_what_speaks_for_both_labels(predictor):
    (task,) = select(predictor, [undecided(7, 40)], SelectionPlan(1, passages=0.15)).tasks
    assert {passage.label for passage in task.passages} == set(WORDS)
    for label, words in WORDS.items():
        assert any(words in part.text for part in task.passages if part.label == label)
    for part in task.passages:
        assert task.document.text[part.start : part.end] == part.text
    assert task.passage_characters <= 0.15 * task.characters
    assert 0 < task.passage_tokens < 0.2 * task.tokens
    starts = [part.start for part in task.passages]
    assert starts == sorted(starts)


def test_a_document_of_one_part_is_read_whole(predictor):
    (task,) = select(predictor, [Document("1", WORDS["合同"])], SelectionPlan(1)).tasks
    assert [part.text for part in task.passages] == [WORDS["合同"]]


def test_memory_holds_no_more_than_the_limit(predictor):
    many = [Document(str(i), f"{d.text}第{i}篇") for i, d in enumerate(documents(50, seed=9))]
    whole, _ = gather_candidates(predictor, many, "margin", 50, frozenset(), rng())
    part, counts = gather_candidates(predictor, iter(many), "margin", 7, frozenset(), rng())
    assert [item.document.id for item in part] == [item.document.id for item in whole[:7]]
    assert counts.documents == 50


def test_the_same_seed_picks_the_same(predictor):
    for strategy in ("badge", "random"):
        plan = SelectionPlan(2, strategy, near=False, seed=3)
        first, second = (select(predictor, pool(), plan) for _ in range(2))
        assert first.as_json() == second.as_json()


def test_a_pool_of_labelled_documents_only_is_refused(predictor):
    with pytest.raises(InputError, match="2 are labelled already"):
        select(
            predictor, [undecided(0), undecided(1)], SelectionPlan(1), [undecided(0), undecided(1)]
        )


def test_what_is_unknown_is_refused():
    with pytest.raises(InputError, match="diverse"):
        check_strategy("best")
    with pytest.raises(InputError, match="doccano"):
        check_format("csv", pairs=False)
    with pytest.raises(InputError, match="two texts"):
        check_format("doccano", pairs=True)


def test_label_studio_gets_a_prediction_with_passages(predictor):
    (task,) = select(predictor, [undecided(1, 40)], SelectionPlan(1)).tasks
    content = as_label_studio(task, "b 123")
    assert content["data"]["text"] == task.document.text
    (prediction,) = content["predictions"]
    assert prediction["model_version"] == "b 123"
    chosen, *spans = prediction["result"]
    assert (chosen["type"], chosen["from_name"], chosen["to_name"]) == ("choices", "label", "text")
    assert chosen["value"] == {"choices": [task.predicted[0]]}
    assert len(spans) == len(task.passages)
    for item, passage in zip(spans, task.passages, strict=True):
        assert item["value"] == {
            "start": passage.start,
            "end": passage.end,
            "text": passage.text,
            "labels": [passage.label],
        }
    assert len({item["id"] for item in prediction["result"]}) == len(prediction["result"])
    view = ElementTree.fromstring(labelling_interface(['a"b', "c&d"], several=True))
    controls = {node.get("name"): node for node in view}
    assert {item["from_name"] for item in prediction["result"]} <= set(controls)
    assert [node.get("value") for node in controls["label"]] == ['a"b', "c&d"]
    assert controls["label"].get("choice") == "multiple"


def test_doccano_gets_no_label_that_nobody_gave(predictor):
    (task,) = select(predictor, [undecided(1)], SelectionPlan(1)).tasks
    row = as_doccano(task)
    assert (row["text"], row["label"], row["document_id"]) == (task.document.text, [], "u1")


def test_answers_come_back_as_training_documents(predictor, tmp_path):
    tasks = select(predictor, pool(), SelectionPlan(4)).tasks
    studio, rows = tmp_path / "t.json", tmp_path / "t.jsonl"
    files = write_tasks(studio, tasks, "label-studio", predictor.labels, "b")
    assert [path.name for path in files] == ["t.json", "t.json.interface.xml"]
    exported = json.loads(studio.read_text("utf-8"))
    for number, item in enumerate(exported):
        result = item["predictions"][0]["result"]
        item |= {"id": number, "annotations": [{"was_cancelled": False, "result": result}]}
    studio.write_text(json.dumps(exported), encoding="utf-8")
    back = read_documents(studio).documents
    assert [(d.id, d.label) for d in back] == [(t.document.id, t.predicted[0]) for t in tasks]
    write_tasks(rows, tasks, "jsonl", predictor.labels, "b")
    lines = [json.loads(line) for line in rows.read_text("utf-8").splitlines()]
    lines[1]["label"] = "合同"
    rows.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    result = read_documents(rows)
    assert [d.id for d in result.documents] == [tasks[1].document.id]
    assert len(result.report.skipped) == 3


def test_the_verb(bundle, tmp_path, capsys):
    source, target = tmp_path / "pool.jsonl", tmp_path / "out" / "tasks.jsonl"
    source.write_text(
        "\n".join(json.dumps({"id": d.id, "text": d.text}) for d in pool()), encoding="utf-8"
    )
    arguments = ["select", str(bundle), "--data", str(source), "--count", "3"]
    assert main([*arguments, "--output", str(target), "--labelled", str(source), "--json"]) == 2
    assert "labelled already" in capsys.readouterr().err
    assert main([*arguments, "--output", str(target), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["documents"] == 3
    assert printed["files"] == [str(target)]
    assert 0 < printed["passage_share"] < 0.4
    assert [json.loads(line)["id"] for line in target.read_text("utf-8").splitlines()] == printed[
        "ids"
    ]
    assert main([*arguments, "--output", str(target)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--output", str(target), "--overwrite", "--format", "xml"]) == 2
