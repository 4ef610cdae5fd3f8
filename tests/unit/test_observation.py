"""What is seen of a training run: its progress, its time, its log, and a profile of a few steps."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from tiny_training import make_trainer
from transformers import TrainerCallback

from longform.errors import MissingExtraError
from longform.reporting import ConsoleReporter, RecordingReporter, Reporter
from longform.training.observation import COMPUTE, DATA, SAVING, VALIDATION, RunWatch
from longform.training.profile_summary import RANGES
from longform.training.profiling import TABLE, TRACE, ProfileCallback, named_range
from longform.training.tracking import TensorBoardLog, tracking_callbacks


class Told(Reporter):
    """Keeps what a bar was shown."""

    def __init__(self):
        self.said = []
        self.amounts = []
        self.details = []
        self.done = None

    def say(self, message):
        self.said.append(message)

    def track(self, description, total, unit="documents", done=0):
        from contextlib import contextmanager

        @contextmanager
        def tracked():
            self.total, self.done = total, done

            def advance(amount, /, **details):
                self.amounts.append(amount)
                if details:
                    self.details.append(details)

            yield advance

        return tracked()


class Stop(TrainerCallback):
    """Ends a run after a step, as an interruption would."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_save = True
            control.should_training_stop = True


def read_scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def test_the_bar_shows_loss_rate_and_speed_of_the_log(tmp_path):
    told = Told()
    trainer = make_trainer(tmp_path, told, logging_steps=2, max_steps=8)
    trainer.fit()
    assert told.amounts.count(1) == 8 == told.total
    assert len(told.details) == 4
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    # The mean of the last five entries: of all of these four.
    assert told.details[-1]["loss"] == f"{sum(losses) / 4:.4f}"
    rates = [e["learning_rate"] for e in trainer.state.log_history if "loss" in e]
    assert [detail["rate"] for detail in told.details] == [f"{rate:.2e}" for rate in rates]
    assert all(float(detail["documents/s"]) > 0 for detail in told.details)
    assert sum("validation loss" in line for line in told.said) >= 1


def test_s3_10_the_loss_is_read_when_it_is_logged_and_not_at_every_step(tmp_path, monkeypatch):
    """Each `.item()` of a device's tensor makes the host wait for the device."""
    counts = {}
    for logging_steps in (2, 8):
        trainer = make_trainer(tmp_path / str(logging_steps), logging_steps=logging_steps)
        read = []
        plain = torch.Tensor.item
        with monkeypatch.context() as patched:
            patched.setattr(
                torch.Tensor,
                "item",
                lambda tensor, plain=plain, read=read: (read.append(1), plain(tensor))[1],
            )
            trainer.fit()
        counts[logging_steps] = len(read)
        steps = trainer.state.global_step
    entries = steps // 2 - steps // 8
    # Loss and gradient norm are read for an entry; nothing else depends on the steps.
    assert 0 < counts[2] - counts[8] <= 2 * entries


def test_the_time_of_a_run_is_divided_into_phases_that_add_up(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=8)
    started = time.perf_counter()
    trainer.fit()
    trainer.validate()
    whole = time.perf_counter() - started
    seconds = trainer.watch.seconds
    assert set(seconds) == {DATA, COMPUTE, VALIDATION, SAVING}
    assert all(value > 0 for value in seconds.values())
    assert sum(seconds.values()) == pytest.approx(whole, rel=0.3)
    batch = trainer.args.per_device_train_batch_size
    assert trainer.watch.documents == 8 * batch
    account = trainer.account()
    assert account["documents_per_second"] > 0
    assert account["peak_memory"]["process"] > 50e6


def test_much_waiting_is_told_with_its_likely_cause():
    watch, told = RunWatch(), RecordingReporter(Reporter())
    watch.add(DATA, 1.0)
    watch.add(COMPUTE, 2.0)
    watch.warn(told)
    assert told.told == []
    watch.add(DATA, 29.0)
    watch.add(COMPUTE, 58.0)
    watch.warn(told)
    assert re.search("33 % .* waiting for data.*train_batch_tokens", told.told[0])


def test_s3_19_an_idle_accelerator_is_told_with_the_counter(monkeypatch):
    watch, told = RunWatch(), RecordingReporter(Reporter())
    busy = iter([50, 60, 40])
    monkeypatch.setattr(torch.cuda, "utilization", lambda: next(busy))
    for _ in range(3):
        watch.sample_utilization(torch.device("cuda"))
    assert watch.account()["utilization"] == 0.5
    watch.warn(told)
    assert "50 %" in told.told[0]
    assert "any kernel" in told.told[0]


def test_an_accelerator_that_cannot_tell_is_asked_once(monkeypatch):
    asked = []

    def refuse():
        asked.append(1)
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "utilization", refuse)
    watch = RunWatch()
    for _ in range(3):
        watch.sample_utilization(torch.device("cuda"))
    assert len(asked) == 1
    assert "utilization" not in watch.account()


def test_what_runs_inside_a_phase_belongs_to_it():
    watch = RunWatch()
    with watch.phase(VALIDATION), watch.phase(DATA):
        pass
    assert set(watch.seconds) == {VALIDATION}


def test_tensorboard_has_the_figures_of_the_log(tmp_path):
    log = TensorBoardLog(tmp_path / "logs", Reporter())
    trainer = make_trainer(tmp_path / "run", logging_steps=2, max_steps=8, callbacks=[log])
    trainer.fit()
    (run,) = (tmp_path / "logs").iterdir()
    history = trainer.state.log_history
    expected = [(e["step"], e["loss"]) for e in history if "loss" in e]
    assert len(expected) == 4
    assert read_scalars(run, "train/loss") == [(s, pytest.approx(v)) for s, v in expected]
    f1 = [(e["step"], e["eval_macro_f1"]) for e in history if "eval_macro_f1" in e]
    assert read_scalars(run, "eval/macro_f1") == [(s, pytest.approx(v)) for s, v in f1]


def test_a_resumed_run_continues_the_same_curves(tmp_path):
    def start(*callbacks):
        log = TensorBoardLog(tmp_path / "logs", Reporter())
        return make_trainer(
            tmp_path / "run",
            logging_steps=1,
            max_steps=8,
            save_steps=3,
            callbacks=[log, *callbacks],
        )

    first = start(Stop(5))
    first.fit()
    # As after a crash: what was logged after the last checkpoint is done again.
    shutil.rmtree(tmp_path / "run" / "checkpoint-5", ignore_errors=True)
    second = start()
    second.fit()
    (run,) = (tmp_path / "logs").iterdir()
    curve = read_scalars(run, "train/loss")
    assert [step for step, _ in curve] == list(range(1, 9))
    assert [e["step"] for e in second.state.log_history if "loss" in e] == list(range(1, 9))


def test_a_run_that_begins_anew_gets_curves_of_its_own(tmp_path):
    for number in range(2):
        log = TensorBoardLog(tmp_path / "logs", Reporter())
        make_trainer(tmp_path / f"{number}", logging_steps=1, max_steps=2, callbacks=[log]).fit()
    runs = sorted((tmp_path / "logs").iterdir())
    assert [[step for step, _ in read_scalars(run, "train/loss")] for run in runs] == [[1, 2]] * 2


def test_a_log_that_cannot_be_written_does_not_end_the_run(tmp_path):
    told = RecordingReporter(Reporter())
    (tmp_path / "logs").write_text("a file where the folder should be", encoding="utf-8")
    log = TensorBoardLog(tmp_path / "logs", told)
    trainer = make_trainer(tmp_path / "run", max_steps=4, logging_steps=1, callbacks=[log])
    trainer.fit()
    assert trainer.state.global_step == 4
    (line,) = [line for line in told.told if "TensorBoard" in line]
    assert "Training goes on" in line


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_tracker_is_named_with_the_line_that_installs_it(name, tmp_path, monkeypatch):
    monkeypatch.setattr("longform.extras.is_available", lambda library: False)
    with pytest.raises(MissingExtraError, match=rf"pip install 'longform\[{name}\]'"):
        tracking_callbacks([name], tmp_path, Reporter())


def test_nothing_is_named_and_nothing_costs_while_no_profiler_runs():
    assert named_range("encode") is named_range("backward")
    started = time.perf_counter()
    for _ in range(10_000):
        with named_range("encode"):
            pass
    assert (time.perf_counter() - started) / 10_000 < 20e-6


def test_a_profile_has_a_trace_and_a_table_of_named_ranges(tmp_path):
    told = RecordingReporter(Reporter())
    profiler = ProfileCallback(tmp_path / "profile", told)
    trainer = make_trainer(tmp_path / "run", max_steps=12, callbacks=[profiler])
    plain = trainer.accelerator.backward
    trainer.fit()
    trace = json.loads(gzip.decompress((tmp_path / "profile" / TRACE).read_bytes()))
    names = {event.get("name") for event in trace["traceEvents"]}
    assert set(RANGES) - {"exchange", "validation", "saving"} <= names
    table = (tmp_path / "profile" / TABLE).read_text(encoding="utf-8")
    assert re.search(r"^5 steps in [\d.]+ s, 40 documents: [\d.,]+ documents/s", table)
    assert re.search(r"GFLOP/s", table)
    assert "waiting for data" in table
    section = table.split("range", 1)[1].split("operator, own")
    shares = [float(share) for share in re.findall(r"([\d.]+)%", section[0])]
    assert sum(shares) == pytest.approx(100, abs=1)
    assert len(section[1].strip().splitlines()) == 11
    assert any(table.strip() in line for line in told.told)
    # And all is as before: the ranges end with the profile.
    assert trainer.accelerator.backward == plain
    assert named_range("encode") is named_range("data")


def test_a_run_shorter_than_the_schedule_is_profiled_too(tmp_path):
    profiler = ProfileCallback(tmp_path / "profile", Reporter())
    make_trainer(tmp_path / "run", max_steps=2, callbacks=[profiler]).fit()
    assert (tmp_path / "profile" / TABLE).read_text(encoding="utf-8").startswith("1 steps")


def test_nvtx_is_not_loaded_by_the_profile_module():
    source = Path("src/longform/training/profiling.py").read_text(encoding="utf-8")
    assert not re.search(r"^(import|from) .*nvtx", source, re.MULTILINE)


def test_a_log_file_gets_a_line_a_minute_with_the_figures(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("longform.reporting.time.monotonic", lambda: now[0])
    with ConsoleReporter().track("Training", 1_000, unit="steps", done=100) as advance:
        for _ in range(30):
            now[0] += 5.0
            advance(1, loss="0.5")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    # 12 steps a minute, of which 888 are left.
    assert lines[0] == "  Training: 112 of 1,000 steps   loss 0.5   about 1 h 14 min left"


def test_a_night_of_work_fills_no_log(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("longform.reporting.time.monotonic", lambda: now[0])
    with ConsoleReporter().track("Training", 10_000, unit="steps") as advance:
        for _ in range(3_600):
            now[0] += 10.0
            advance(1)
    assert 20 < len(capsys.readouterr().err.splitlines()) < 90


def test_the_environment_is_left_alone_by_tensorboard(tmp_path):
    before = dict(os.environ)
    tracking_callbacks(["tensorboard"], tmp_path, Reporter())
    assert dict(os.environ) == before
