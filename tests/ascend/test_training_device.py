"""The choice of an NPU to train on, on a stand-in for torch_npu that holds no tensors.

A backend can be renamed once in a process, so each of these runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")

STAND_IN = """
import json, sys, types
import torch
said = []
fake = types.ModuleType("torch.npu")
fake.is_available = lambda: True
fake.device_count = lambda: 2
fake.current_device = lambda: 0
fake.set_device = lambda number: said.append(f"set_device {number}")
fake.set_compile_mode = lambda jit_compile: said.append(f"jit_compile {jit_compile}")
fake.synchronize = lambda device=None: None
fake.get_device_name = lambda device=None: "Ascend910B2"
fake.mem_get_info = lambda device=None: (60 * 2**30, 64 * 2**30)
fake.is_bf16_supported = lambda: True
fake.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
fake.manual_seed_all = lambda seed: None
fake._is_in_bad_fork = lambda: False
fake.conv = types.SimpleNamespace(allow_hf32=True)
torch.utils.rename_privateuse1_backend("npu")
torch._register_device_module("npu", fake)
sys.modules["torch_npu"] = types.ModuleType("torch_npu")
from longform.reporting import Reporter
from longform.training.devices import pick_device
"""


def run(script, **environment):
    result = subprocess.run(
        [sys.executable, "-c", STAND_IN + script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_an_npu_is_taken_first_with_the_rules_of_its_runtime():
    found = run(
        "device = pick_device(Reporter())\n"
        "with torch.autocast(device.name, dtype=torch.bfloat16):\n"
        "    enabled = torch.is_autocast_enabled('npu')\n"
        "print(json.dumps([device.name, device.bf16, device.reason, said,"
        " fake.conv.allow_hf32, enabled]))\n",
        LOCAL_RANK="1",
    )
    name, bf16, reason, said, hf32, autocast = found
    assert (name, bf16, autocast) == ("npu", True, True)
    assert "Ascend910B2" in reason
    # One process for each card, no kernels compiled for each shape, fp32 that is fp32.
    assert said == ["set_device 1", "jit_compile False"]
    assert hf32 is False


def test_no_card_is_said_with_where_to_look():
    found = run(
        "fake.is_available = lambda: False\n"
        "from longform.errors import ConfigError\n"
        "try:\n"
        "    pick_device(Reporter(), 'npu')\n"
        "except ConfigError as error:\n"
        "    print(json.dumps(str(error)))\n"
    )
    assert "npu-smi info" in found
    assert "ASCEND_RT_VISIBLE_DEVICES" in found


def test_a_torch_npu_that_cannot_be_loaded_is_one_clear_message():
    found = run(
        "import importlib.abc, importlib.machinery\n"
        "class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch_npu':\n"
        "            return importlib.machinery.ModuleSpec(name, self)\n"
        "    def exec_module(self, module):\n"
        "        raise ImportError('libhccl.so: cannot open shared object file')\n"
        "del sys.modules['torch_npu']\n"
        "sys.meta_path.insert(0, Broken())\n"
        "from longform.errors import ConfigError\n"
        "try:\n"
        "    pick_device(Reporter(), 'npu')\n"
        "except ConfigError as error:\n"
        "    print(json.dumps(str(error)))\n"
    )
    assert "libhccl.so" in found
    assert "set_env.sh" in found


MODELS = {
    "lstm over bert": {"encoder": "bert", "aggregator": "lstm", "aggregator_layers": 2},
    "gru over an lstm": {"encoder": "lstm", "aggregator": "gru"},
    "transformer over linformer": {"encoder": "linformer", "aggregator": "transformer"},
    "attention over a bag": {"encoder": "bag", "aggregator": "attention"},
}


@pytest.mark.parametrize("name", MODELS)
def test_the_modules_in_use_keep_the_rules_of_the_npu(name, monkeypatch):
    """Boolean attention masks; recurrent layers of one layer and direction, in fp32, not packed."""
    import torch
    from torch import nn
    from torch.nn import functional
    from transformers import BertConfig

    from longform.models import LongTextClassifier
    from longform.models.configuration import LongTextConfig

    masks, inputs = [], []
    attend = functional.scaled_dot_product_attention

    def record(*given, attn_mask=None, **more):
        mask = attn_mask if attn_mask is not None or len(given) < 4 else given[3]
        masks.append(None if mask is None else mask.dtype)
        return attend(*given, attn_mask=attn_mask, **more)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", record)
    monkeypatch.setattr("longform.models.attention.scaled_dot_product_attention", record)
    for packing in ("pack_padded_sequence", "pad_packed_sequence"):
        monkeypatch.setattr(nn.utils.rnn, packing, None)
    settings = dict(MODELS[name])
    if settings["encoder"] == "bert":
        bert = BertConfig(
            vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=16,
        )  # fmt: skip
        settings["encoder_config"] = bert.to_dict()
    config = LongTextConfig(
        vocabulary_size=50, bag_dimension=16, bag_buckets=101, aggregator_hidden=8,
        aggregator_heads=2, encoder_hidden=16, encoder_heads=2, linformer_k=4, num_labels=3,
        segment_length=8, **settings,
    )  # fmt: skip
    model = LongTextClassifier(config).train()
    recurrent = [module for module in model.modules() if isinstance(module, nn.LSTM | nn.GRU)]
    assert bool(recurrent) == ("lstm" in name)
    for module in recurrent:
        assert (module.num_layers, module.bidirectional) == (1, False)
        assert (module.dropout, module.proj_size, module.bias) == (0, 0, True)
        module.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    ids = torch.randint(1, 50, (2, 3, 8))
    mask = torch.ones_like(ids)
    mask[0, 2, 5:] = 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(input_ids=ids, attention_mask=mask, labels=torch.tensor([0, 2]))
    output.loss.backward()
    assert {dtype for dtype in masks if dtype is not None} <= {torch.bool}
    assert all(one.dtype is torch.float32 and one.ndim == 3 for one in inputs)
    assert bool(inputs) == bool(recurrent)


def test_the_checks_of_numerics_pass_on_the_device_that_they_compare_with():
    from longform.training import npu_checks

    assert npu_checks.check_attention("cpu", 513) < npu_checks.TOLERANCE
    assert npu_checks.check_lstm("cpu") < 1e-6
    assert npu_checks.check_sum("cpu") == 0
