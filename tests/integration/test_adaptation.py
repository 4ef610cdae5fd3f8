"""LoRA, R-Drop, adversarial training and averaged weights, in runs of the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tiny_runs import Corpus, Result, make_documents, train

from longform.bundle import load_bundle
from longform.config import RunConfig, parse_assignments
from longform.inference.predictor import load
from longform.reporting import Reporter
from longform.training.fit import fit

SETTINGS = (
    "segment_length=32",
    "aggregator=mean",
    "aggregator_hidden=8",
    "per_device_train_batch_size=8",
    "num_train_epochs=2",
    "max_train_segments=3",
    "learning_rate=0.01",
    "parity_documents=8",
    "bf16=false",
)
LORA = ("lora=true", "lora_r=2", "lora_alpha=4")
EVERYTHING = (*LORA, "rdrop_alpha=1", "fgm_epsilon=0.5", "ema_decay=0.8")


class Lines(Reporter):
    """Keeps what was said."""

    text = ""

    def say(self, text: str) -> None:
        self.text += f"{text}\n"


def adapt(corpus: Corpus, encoder: Path, output: Path, *settings: str) -> Result:
    result = train(corpus, output, *SETTINGS, *settings, options=["--encoder", encoder])
    assert result.status == 0, result.err
    return result


def weights(bundle: Path) -> dict[str, np.ndarray]:
    return load_file(bundle / "model.safetensors")


@pytest.fixture(scope="module")
def adapted(own_folders, corpus, encoder, tmp_path_factory) -> tuple[Path, Result]:
    """A bundle trained with everything at once, and what the command said."""
    folder = tmp_path_factory.mktemp("adapted") / "model"
    return folder, adapt(corpus, encoder, folder, *EVERYTHING)


def test_r43_the_bundle_holds_the_merged_model_and_answers_as_it_does(adapted, corpus, encoder):
    folder, result = adapted
    assert "LoRA on 4 layers (query, value): 256 parameters learn" in result.err
    found, start = weights(folder), load_file(encoder / "model.safetensors")
    assert not any("lora" in name or "base_layer" in name for name in found)
    for name, before in start.items():
        if "pooler" in name:
            continue
        changed = np.abs(found[f"encoder.model.{name}"] - before).max() > 1e-5
        assert changed == name.endswith(("query.weight", "value.weight")), name
    with load(folder, "torch:fp32") as reference, load(folder, "onnx") as model:
        expected = reference.scorer.score(corpus.documents).logits
        logits = model.scorer.score(corpus.documents).logits
    assert np.abs(logits - expected).max() <= 1e-4
    assert np.abs(expected - expected[0]).max() > 1e-3


def test_r43_the_metrics_are_those_of_the_bundle(adapted, corpus):
    folder, result = adapted
    recorded = load_bundle(folder).description.metrics
    assert recorded == result.json["metrics"]
    records = json.loads((folder / "parity.json").read_text())["targets"]
    assert records["onnx:fp32"]["passed"]


@pytest.mark.parametrize("settings", [LORA, EVERYTHING], ids=["lora", "everything"])
def test_r35_r47_a_continued_run_ends_in_the_same_weights(encoder, tmp_path, settings):
    documents = make_documents(40, seed=3)
    # Checkpoints in the middle of an epoch, which has three steps.
    values = parse_assignments([*SETTINGS, *settings, f"encoder={encoder}", "save_steps=2"])
    config, told = RunConfig.model_validate(values), Lines()

    def run(folder: str) -> dict[str, torch.Tensor]:
        trained = fit(config, documents[:24], documents[24:], tmp_path / folder, told)
        return trained.model.state_dict()

    expected = run("whole")
    checkpoint = "checkpoint-2"
    shutil.copytree(tmp_path / "whole" / checkpoint, tmp_path / "continued" / checkpoint)
    for folder in ("continued", "again"):
        found = run(folder)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert told.text.count("Continuing from checkpoint-2") == 1


def test_fgm_and_frozen_are_refused_together(corpus, encoder, tmp_path):
    settings = (*SETTINGS, "frozen=true", "fgm_epsilon=1")
    result = train(corpus, tmp_path / "model", *settings, options=["--encoder", encoder])
    assert result.status == 2
    assert "fgm_epsilon moves token embeddings" in result.err


def test_a_layer_that_the_encoder_lacks_is_named_beside_those_it_has(corpus, encoder, tmp_path):
    settings = (*SETTINGS, *LORA, "lora_target_modules=[q_proj]")
    result = train(corpus, tmp_path / "model", *settings, options=["--encoder", encoder])
    assert result.status == 2
    assert "no linear layer 'q_proj'" in result.err
    assert "called dense, key, query, value" in result.err
