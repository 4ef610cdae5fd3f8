"""`longform search` for real, on a corpus that is learnt in seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_runs import Corpus, Result, make_documents, run, succeed, write_csv

from longform.search.study import JOURNAL_NAME

FIXED = (
    "segment_length=64",
    "bag_dimension=8",
    "bag_buckets=101",
    "vocabulary_size=300",
    "aggregator=mean",
    "per_device_train_batch_size=16",
    "num_train_epochs=2",
)
SPACE = """
learning_rate: {low: 0.01, high: 0.1, log: true}
dropout: [0.0, 0.1]
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return path


def arguments(corpus: Corpus, space: Path, output: Path, trials: int) -> list[object]:
    return [
        "search",
        *("--data", corpus.train, "--validation", corpus.validation, "--test", corpus.test),
        *("--output", output, "--space", space, "--trials", trials, "--json"),
        *("--set", *FIXED),
    ]


@pytest.fixture(scope="module")
def killed(own_folders, corpus, space, tmp_path_factory) -> tuple[Path, int]:
    """A search whose process was killed after its first trial: its folder, the trials it had."""
    folder = tmp_path_factory.mktemp("search") / "run"
    command = [sys.executable, "-m", "longform"]
    process = subprocess.Popen(
        [*command, *map(str, arguments(corpus, space, folder, 3))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("trial "):
            break
    # In the middle of the second trial: as soon as it has begun.
    journal = folder / JOURNAL_NAME
    size, until = journal.stat().st_size, time.monotonic() + 60
    while journal.stat().st_size == size and time.monotonic() < until:
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    return folder, 1


@pytest.fixture(scope="module")
def finished(corpus, space, killed) -> Result:
    folder, _ = killed
    return succeed(*arguments(corpus, space, folder, 3))


def test_a_killed_search_goes_on_where_it_was(finished, killed):
    _, before = killed
    assert f"Going on after {before} trial in" in finished.err
    told = finished.json
    assert told["trials_total"] == 3
    assert [trial["start"] for trial in told["trials"]] == ["defaults", "", ""]
    # The numbers have a gap: the one that was killed.
    assert [trial["number"] for trial in told["trials"]] == [0, 2, 3]


def test_the_choice_is_no_worse_and_judged_on_documents_of_its_own(finished):
    told = finished.json
    values = [trial["value"] for trial in told["trials"] if trial["value"] is not None]
    assert told["best"]["value"] == max(values)
    assert told["best"]["value"] >= told["defaults"]["value"]
    assert told["parts"] == {"train": 48, "validation": 18, "test": 18}
    figures = told["test"]["best"]
    low, high = figures["interval"]
    assert low <= figures["accuracy"] <= high
    wins, losses = told["test"]["only_best"], told["test"]["only_defaults"]
    gain = figures["accuracy"] - told["test"]["defaults"]["accuracy"]
    assert gain == pytest.approx((wins - losses) / 18)
    assert set(told["space"]) == {"learning_rate", "dropout"}
    assert all(trial["document_ms"] > 0 for trial in told["trials"] if trial["value"])


def test_the_bundle_answers_as_it_was_judged(finished, corpus):
    told = finished.json
    judged = succeed("evaluate", told["bundle"], "--data", corpus.test, "--json").json
    assert judged["accuracy"] == pytest.approx(told["test"]["best"]["accuracy"])
    assert judged["macro_f1"] == pytest.approx(told["test"]["best"]["macro_f1"])
    description = json.loads(Path(told["bundle"], "longform.json").read_text(encoding="utf-8"))
    assert description["training"]["search"]["trials"] == 3


def test_the_settings_of_the_choice_train_alone(finished, corpus, tmp_path):
    told = finished.json
    settings = Path(told["bundle"]).parent / "best.yaml"
    trained = succeed(
        *("train", settings, "--data", corpus.train, "--validation", corpus.validation),
        *("--output", tmp_path / "again", "--json"),
    ).json
    assert trained["metrics"]["macro_f1"] == pytest.approx(told["best"]["value"])


def test_a_complete_search_is_only_told_again(finished, corpus, space, killed):
    folder, _ = killed
    again = succeed(*arguments(corpus, space, folder, 3))
    assert "Nothing was tried since the choice was judged." in again.err
    assert again.json["test"] == finished.json["test"]
    assert "<svg" in (folder / "report.html").read_text(encoding="utf-8")


def test_other_documents_are_another_search(finished, corpus, space, killed, tmp_path):
    folder, _ = killed
    other = write_csv(tmp_path / "other.csv", make_documents(45, seed=9))
    changed = Corpus(other, corpus.validation, corpus.test, corpus.documents)
    refused = run(*arguments(changed, space, folder, 3))
    assert refused.status == 2
    assert "documents (train)" in refused.err
    assert "--restart" in refused.err
    refused = run(*arguments(corpus, space, folder, 3), "dropout=0.4")
    assert refused.status == 2
    assert "settings (dropout)" in refused.err


def test_a_budget_too_small_for_the_defaults_is_told(corpus, space, tmp_path):
    command = arguments(corpus, space, tmp_path / "run", 3)
    refused = run(*command[: -len(FIXED) - 1], "--budget", "0.01s", *command[-len(FIXED) - 1 :])
    assert refused.status == 1
    assert "enough to train the defaults once" in refused.err
    assert not (tmp_path / "run" / "best").exists()


def test_faults_of_a_space_are_told_before_anything_is_read(corpus, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("drop: [0.1]\nsegment_length: [1]\n", encoding="utf-8")
    refused = run(*arguments(corpus, wrong, tmp_path / "run", 3))
    assert refused.status == 2
    assert "unknown key 'drop', did you mean 'dropout'?" in refused.err
    assert "segment_length" in refused.err
    assert not (tmp_path / "run").exists()
