from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from longform.errors import InputError
from longform.training.averaging import WeightAverage


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    layers[0].bias.requires_grad_(False)
    return layers


def step(layers: nn.Module, seed: int) -> None:
    """Move all weights that are trained, as an optimiser would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layers.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator))


def state(layers: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(layers.state_dict())


def test_the_average_is_that_of_a_loop_by_hand():
    layers = model()
    average, expected = WeightAverage(layers, 0.5), state(layers)
    for number in range(12):
        step(layers, number)
        average.update()
        decay = min(0.5, (1 + number) / (10 + number))
        for name, parameter in layers.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach()
    with average.applied():
        for name, parameter in layers.named_parameters():
            torch.testing.assert_close(parameter.detach(), expected[name])


def test_after_the_start_it_is_the_average_of_torch():
    layers = model()
    average = WeightAverage(layers, 0.2)
    average._updates = 10_000
    by_torch = AveragedModel(
        layers,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.2),
    )
    by_torch.n_averaged += 1
    for number in range(5):
        step(layers, number)
        average.update()
        by_torch.update_parameters(layers)
    with average.applied():
        for found, expected in zip(layers.parameters(), by_torch.parameters(), strict=True):
            torch.testing.assert_close(found, expected)


def test_the_model_gets_its_own_weights_back_bit_for_bit():
    layers = model()
    average = WeightAverage(layers, 0.9)
    step(layers, 0)
    average.update()
    before = state(layers)
    with average.applied():
        assert not torch.equal(layers[0].weight, before["0.weight"])
        # What is not trained, and what is no parameter, is that of the model.
        assert torch.equal(layers[0].bias, before["0.bias"])
        assert torch.equal(layers[1].running_mean, before["1.running_mean"])
    assert all(torch.equal(item, before[name]) for name, item in layers.state_dict().items())


def test_weights_come_back_when_a_validation_fails():
    layers = model()
    average = WeightAverage(layers, 0.9)
    step(layers, 0)
    before = state(layers)

    def validate() -> None:
        with average.applied():
            raise MemoryError

    with pytest.raises(MemoryError):
        validate()
    assert all(torch.equal(item, before[name]) for name, item in layers.state_dict().items())


def test_r35_an_average_goes_on_from_its_file(tmp_path):
    layers = model()
    average = WeightAverage(layers, 0.9)
    for number in range(4):
        step(layers, number)
        average.update()
    average.save(tmp_path)
    continued = model()
    continued.load_state_dict(layers.state_dict())
    other = WeightAverage(continued, 0.9)
    other.load(tmp_path)
    for number in range(4, 8):
        for item, kept in ((layers, average), (continued, other)):
            step(item, number)
            kept.update()
    average.finish(None)
    other.finish(None)
    assert all(
        torch.equal(item, continued.state_dict()[name])
        for name, item in layers.state_dict().items()
    )


def test_the_best_average_is_taken_from_its_checkpoint(tmp_path):
    layers = model()
    average = WeightAverage(layers, 0.9)
    step(layers, 0)
    average.update()
    average.save(tmp_path)
    with average.applied():
        best = state(layers)
    step(layers, 1)
    average.update()
    average.finish(tmp_path)
    assert all(torch.equal(item, best[name]) for name, item in layers.state_dict().items())


def test_a_checkpoint_without_an_average_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no average\.safetensors"):
        WeightAverage(model(), 0.9).load(tmp_path)
    WeightAverage(nn.Linear(2, 2), 0.9).save(tmp_path)
    with pytest.raises(InputError, match="other weights"):
        WeightAverage(model(), 0.9).load(tmp_path)


class _Skipped:
    step_was_skipped = True


def test_s1_31_a_step_that_fp16_left_out_does_not_count():
    layers = model()
    average = WeightAverage(layers, 0.9)
    step(layers, 0)
    average.on_optimizer_step(None, None, None, optimizer=_Skipped())
    assert average._updates == 0
    average.on_optimizer_step(None, None, None)
    assert average._updates == 1
