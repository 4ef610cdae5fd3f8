"""What training does when a loss is not finite, when memory runs out, and when it is stopped."""

from __future__ import annotations

import os
import re
import signal

import numpy as np
import pytest
import torch
from test_gradient_cache import batch, gradients, tiny_model
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from longform.config import RunConfig
from longform.errors import ConfigError
from longform.reporting import Reporter
from longform.training.arguments import training_arguments
from longform.training.devices import Device, pick_device
from longform.training.gradient_cache import PiecewiseEncoding
from longform.training.guard import FiniteGuard, LossScaleGuard, TrainingError
from longform.training.interruption import Interruption
from longform.training.memory import free_bytes, is_out_of_memory
from longform.training.recovery import MemoryRecovery

CPU = torch.device("cpu")


class Listener(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


# Not finite


def guard(most: int = 2) -> tuple[FiniteGuard, Listener, nn.Module]:
    listener = Listener()
    model = nn.Linear(2, 1)
    model.weight.grad = torch.ones_like(model.weight)
    return FiniteGuard([f"doc-{n}" for n in range(20)], most, listener), listener, model


def test_r31_a_step_that_is_not_finite_is_left_out_and_its_documents_are_named():
    watch, listener, model = guard()
    watch.record(torch.tensor([3, 5]), torch.tensor([0.5, float("nan")]))
    watch.record(torch.tensor([7]), torch.tensor([float("inf")]))
    watch.inspect(torch.tensor(float("nan")), model, step=4)
    assert model.weight.grad is None
    (line,) = listener.lines
    assert line.startswith("Step 4 is left out: the loss of documents 'doc-5', 'doc-7' is not")
    assert (watch.skipped, watch.skipped_in_a_row) == (1, 1)


def test_r31_a_gradient_that_is_not_finite_names_what_was_read():
    watch, listener, model = guard()
    watch.record(torch.tensor([3]), torch.tensor([0.5]))
    watch.inspect(float("inf"), model, step=1)
    assert "but the gradient of document 'doc-3' is not" in listener.lines[0]


def test_r31_good_steps_pass_and_end_a_row_of_bad_ones():
    watch, listener, model = guard(most=2)
    for norm in (float("nan"), 1.0, float("nan"), 0.0):
        model.weight.grad = torch.ones_like(model.weight)
        watch.record(torch.tensor([1]), torch.tensor([1.0]))
        watch.inspect(norm, model, step=1)
    assert model.weight.grad is not None
    assert len(listener.lines) == 2


def test_r31_too_many_bad_steps_in_a_row_end_the_run_with_the_way_out():
    watch, _, model = guard(most=2)
    watch.inspect(float("nan"), model, step=1)
    watch.record(torch.tensor([9]), torch.tensor([float("nan")]))
    with pytest.raises(TrainingError, match=r"2 steps in a row.*'doc-9'.*lower learning_rate"):
        watch.inspect(float("nan"), model, step=2)


def test_r32_overflows_are_normal_until_the_scale_is_gone():
    watch = LossScaleGuard(most_skipped=3)
    for scale in (65536.0, 32768.0, 2.0, 1.0):
        watch.inspect(scale, skipped=True)
        watch.inspect(scale, skipped=False)
    watch.inspect(1.0, skipped=True)
    watch.inspect(1.0, skipped=True)
    with pytest.raises(TrainingError, match=r"loss scale of 1 .*bf16=true"):
        watch.inspect(1.0, skipped=True)


# Memory


def short_of_memory(model, most_tokens: int):
    """The encoder of a machine that holds so many tokens at once."""
    encode = model.encode

    def limited(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if ids.numel() > most_tokens:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 GB")
        return encode(ids, mask)

    model.encode = limited


@pytest.mark.parametrize("accumulated", [False, True])
def test_r30_a_step_that_does_not_fit_is_done_again_in_smaller_pieces(accumulated):
    model = tiny_model(dropout=0.3)
    _, expected = gradients(model, PiecewiseEncoding(64, 0))
    listener = Listener()
    recovery = MemoryRecovery(model, RunConfig(micro_batch_tokens=256), CPU, listener)
    recovery._longest = 32
    short_of_memory(model, 64)
    model.zero_grad()
    if accumulated:
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
    torch.manual_seed(7)
    recovery.gradients(lambda: model(**batch()).loss.backward(), restartable=True)
    assert recovery.encoding.micro_batch_tokens == 64
    pieces = [re.search(r"pieces of (\d+) tokens", line).group(1) for line in listener.lines]
    assert pieces == ["128", "64"]
    assert "the same documents are read again" in listener.lines[0]
    for name, parameter in model.named_parameters():
        found = parameter.grad - 1.0 if accumulated else parameter.grad
        torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-6)


def test_r30_when_nothing_is_left_to_divide_the_run_ends_with_the_way_out():
    model = tiny_model()
    listener = Listener()
    recovery = MemoryRecovery(model, RunConfig(micro_batch_tokens=64), CPU, listener)
    recovery._longest = 32
    short_of_memory(model, 8)
    with pytest.raises(TrainingError, match=r"must fit the memory.*Lower segment_length"):
        recovery.gradients(lambda: model(**batch()).loss.backward(), restartable=True)
    assert "gradient_checkpointing" in listener.lines[-1]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    recovery = MemoryRecovery(tiny_model(), RunConfig(), CPU, Reporter())

    def fail() -> None:
        raise ValueError("another fault")

    with pytest.raises(ValueError, match="another fault"):
        recovery.run(fail)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("NPU out of memory. Tried to allocate"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_r30_the_ways_in_which_devices_say_that_memory_is_out(error, expected):
    assert is_out_of_memory(error) is expected


def test_what_does_not_fit_is_encoded_twice_and_said(monkeypatch):
    sizes = np.array([[10, 32], [4, 20]])
    documents = type("Documents", (), {"sizes": sizes})
    listener = Listener()
    model = tiny_model()
    recovery = MemoryRecovery(model, RunConfig(), CPU, listener)
    recovery.plan(documents, [[0, 1]], torch.no_grad)
    assert recovery.encoding.kept_tokens == float("inf")
    assert listener.lines == []
    monkeypatch.setattr("longform.training.recovery.free_bytes", lambda device: 300_000)
    recovery.plan(documents, [[0, 1]], torch.no_grad)
    assert 0 < recovery.encoding.kept_tokens < 400
    assert "of the largest batch, 400 tokens, the rest is encoded twice" in listener.lines[0]
    assert free_bytes(CPU) > 0


@pytest.mark.parametrize(("two_pass", "kept"), [(True, 0), (False, float("inf"))])
def test_two_passes_can_be_asked_for_and_refused(two_pass, kept):
    recovery = MemoryRecovery(tiny_model(), RunConfig(two_pass=two_pass), CPU, Reporter())
    assert recovery.encoding.kept_tokens == kept


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_r41_a_signal_saves_after_the_step_and_ends_with_its_status(number, tmp_path):
    listener = Listener()
    interruption = Interruption(listener)
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    control = TrainerControl()
    before = signal.getsignal(number)
    with interruption:
        interruption.on_step_end(arguments, TrainerState(), control)
        assert not control.should_training_stop
        os.kill(os.getpid(), number)
        # The second one is as it was before.
        assert signal.getsignal(number) == before
        interruption.on_step_end(arguments, TrainerState(), control)
    assert control.should_save
    assert control.should_training_stop
    assert "a checkpoint" in listener.lines[0]
    with pytest.raises(SystemExit) as ended:
        interruption.end()
    assert ended.value.code == 128 + number


# Devices


def test_r45_a_device_that_is_named_must_be_there():
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"device: cuda, but .*Set device to auto"):
            pick_device(Reporter(), "cuda")
    with pytest.raises(ConfigError, match=r"device: npu, but torch_npu is not installed"):
        pick_device(Reporter(), "npu")


def test_the_device_is_said_with_the_reason():
    listener = Listener()
    device = pick_device(listener, "cpu")
    assert device.name == "cpu"
    assert listener.lines == [f"Device: cpu ({device.reason})."]
    assert "asked for; bf16 runs at" in device.reason


def test_what_a_device_cannot_do_is_refused_and_not_left_out(tmp_path):
    cpu = Device("cpu", False, "a test")
    with pytest.raises(ConfigError, match=r"fp16: true on a CPU.*bf16=true"):
        training_arguments(RunConfig(fp16=True), tmp_path, cpu)
    with pytest.raises(ConfigError, match=r"1 processes on cpu.*torchrun"):
        training_arguments(RunConfig(encoder="x", fsdp=True), tmp_path, cpu)
