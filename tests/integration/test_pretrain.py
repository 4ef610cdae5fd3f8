"""`longform pretrain`: from texts to an encoder that `longform train` starts from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import make_documents, run, succeed, write_csv, write_encoder
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from longform.text.tokenization import TextTokenizer
from longform.training.checkpoints import CheckpointKeeper
from longform.training.encoder_folder import RECORD

pytestmark = pytest.mark.usefixtures("own_folders")

SETTINGS = (
    "segment_length=32",
    "train_batch_tokens=512",
    "learning_rate=0.02",
    "head_learning_rate=0.02",
    "num_train_epochs=2",
    "save_steps=20",
    "seed=3",
    # What a short measurement would choose may differ from run to run on a busy machine.
    "bf16=false",
)


@pytest.fixture(scope="module")
def masking_encoder(tmp_path_factory) -> Path:
    """The tiny BERT, with a mask token."""
    folder = write_encoder(tmp_path_factory.mktemp("encoder") / "bert-masked")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    model = AutoModel.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    return write_csv(tmp_path_factory.mktemp("texts") / "texts.csv", make_documents(40, seed=5))


def command(encoder, texts, output, *options, settings=SETTINGS):
    return (
        *("pretrain", "--encoder", encoder, "--data", texts, "--output", output, "--json"),
        *("--set", "near_duplicates=ignore", *settings),
        *options,
    )


@pytest.fixture(scope="module")
def pretrained(own_folders, masking_encoder, texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained") / "encoder"
    return folder, succeed(*command(masking_encoder, texts, folder))


def weights(folder: Path) -> dict[str, bytes]:
    tensors = load_file(folder / "model.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def test_the_masked_loss_falls_and_is_told(pretrained):
    folder, result = pretrained
    summary = result.json["pretraining"]
    assert summary["before"]["loss"] > 4.5  # about the logarithm of the vocabulary
    assert summary["after"]["loss"] < summary["before"]["loss"] - 0.7
    assert summary["after"]["perplexity"] < summary["before"]["perplexity"] / 2
    assert [entry["epoch"] for entry in summary["history"]] == [1.0, 2.0]
    assert summary["history"][-1]["loss"] == pytest.approx(summary["after"]["loss"], abs=1e-4)
    assert summary["new_head"]
    assert result.json["data"]["validation"] == 2
    for words in ("masked loss", "random weights", "epoch   2.0", f"train --encoder {folder}"):
        assert words in result.err


def test_the_folder_is_an_encoder_that_train_takes(pretrained, masking_encoder, tmp_path):
    folder, result = pretrained
    assert [path.name for path in folder.parent.iterdir()] == ["encoder"]
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    assert record["pretraining"] == result.json["pretraining"]
    before, after = AutoModel.from_pretrained(masking_encoder), AutoModel.from_pretrained(folder)
    key = "encoder.layer.0.attention.self.query.weight"
    assert (before.state_dict()[key] - after.state_dict()[key]).abs().max() > 1e-3
    files = [Path(item) / "tokenizer.json" for item in (masking_encoder, folder)]
    tokens = [TextTokenizer.from_file(file).encode(["本院认为 the clerk"]) for file in files]
    assert tokens[0] == tokens[1]
    trained = succeed(
        *("train", "--encoder", folder, "--data"),
        *(write_csv(tmp_path / "train.csv", make_documents(24, seed=1)), "--output"),
        *(tmp_path / "model", "--json", "--set", "max_steps=2", "segment_length=32"),
        "near_duplicates=ignore",
    )
    assert trained.json["parity"]["onnx:fp32"]["passed"]


def test_an_encoder_that_has_its_head_goes_on_with_it(pretrained, texts, tmp_path):
    folder, first = pretrained
    result = succeed(
        *command(folder, texts, tmp_path / "second", settings=(*SETTINGS, "max_steps=1"))
    )
    summary = result.json["pretraining"]
    assert not summary["new_head"]
    assert summary["before"] == first.json["pretraining"]["after"]


def test_documents_that_must_not_be_learnt_are_left_out(masking_encoder, texts, tmp_path):
    documents = make_documents(40, seed=5)
    planted = write_csv(tmp_path / "held-out.csv", [*make_documents(5, seed=9), documents[7]])
    more = write_csv(tmp_path / "more.csv", [documents[3], *make_documents(6, seed=10)])
    output = tmp_path / "encoder"
    result = succeed(
        *("pretrain", "--encoder", masking_encoder, "--data", texts, more, "--exclude", planted),
        *("--output", output, "--validation", planted, "--json"),
        *("--set", *SETTINGS, "max_steps=1", "near_duplicates=ignore"),
    )
    account = result.json["data"]
    assert account["documents"] == 47
    assert account["repeated"] == 1
    assert account["excluded"] == 1
    assert account["train"] == 45
    assert "texts.csv:5-7" in result.err


def test_r33_a_killed_run_is_continued_and_ends_the_same(
    pretrained, masking_encoder, texts, tmp_path
):
    script = (
        "import os, signal\n"
        "from longform.cli import main\n"
        "from longform.training.progress import ProgressCallback\n"
        "original = ProgressCallback.on_step_end\n"
        "def kill(self, args, state, control, **rest):\n"
        "    original(self, args, state, control, **rest)\n"
        "    if state.global_step == 25: os.kill(os.getpid(), signal.SIGKILL)\n"
        "ProgressCallback.on_step_end = kill\n"
        "import sys; main(sys.argv[1:])\n"
    )
    output = tmp_path / "encoder"
    arguments = [str(item) for item in command(masking_encoder, texts, output)]
    # Sums are the same to the last bit only with the same number of threads.
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, env=os.environ | threads
    )
    assert killed.returncode == -signal.SIGKILL
    assert not output.exists()
    continued = succeed(*arguments)
    assert "Continuing from checkpoint-20" in continued.err
    assert weights(output) == weights(pretrained[0])
    assert continued.json["pretraining"]["history"] == pretrained[1].json["pretraining"]["history"]
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_r36_r41_a_stopped_run_keeps_its_last_step_and_is_not_continued_with_other_settings(
    masking_encoder, texts, tmp_path, monkeypatch
):
    output = tmp_path / "encoder"
    original = CheckpointKeeper.on_save

    def stop(self, args, state, control, **rest):
        original(self, args, state, control, **rest)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointKeeper, "on_save", stop)
        assert run(*command(masking_encoder, texts, output)).status == 130
    refused = run(*command(masking_encoder, texts, output, "mlm_probability=0.2"))
    assert refused.status == 2
    # Stopped in the step after a checkpoint, of which another is then kept.
    assert (tmp_path / "encoder.pretraining" / "checkpoints" / "checkpoint-21").is_dir()
    assert "mlm_probability" in refused.err
    assert "--restart" in refused.err


def test_r40_what_stands_at_the_output_is_not_lost(pretrained, masking_encoder, texts, tmp_path):
    folder, _ = pretrained
    for name in ("own", "foreign"):
        (tmp_path / name).mkdir()
        for file in folder.iterdir():
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    short = (*SETTINGS, "max_steps=1")
    refused = run(*command(masking_encoder, texts, tmp_path / "own", settings=short))
    assert refused.status == 2
    assert "--overwrite" in refused.err
    (tmp_path / "foreign" / "notes.txt").write_text("mine", encoding="utf-8")
    kept = run(*command(masking_encoder, texts, tmp_path / "foreign", "--overwrite"))
    assert kept.status == 2
    assert "notes.txt" in kept.err
    succeed(*command(masking_encoder, texts, tmp_path / "own", "--overwrite", settings=short))
    assert weights(tmp_path / "own") != weights(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign", "own"]


def write_decoder(folder: Path, encoder: Path) -> Path:
    from transformers import GPT2Config, GPT2Model

    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    config = GPT2Config(vocab_size=200, n_embd=8, n_layer=1, n_head=2, n_positions=64)
    GPT2Model(config).save_pretrained(folder)
    return folder


def test_what_cannot_guess_words_is_refused(masking_encoder, encoder, texts, tmp_path):
    decoder = write_decoder(tmp_path / "gpt", masking_encoder)
    for name, word in (
        (decoder, "gpt2"),
        (encoder, str(encoder)),
        ("bag", "starts from nothing"),
        (tmp_path / "nowhere", "no config.json"),
    ):
        result = run(*command(name, texts, tmp_path / "encoder"))
        assert result.status == 2, result.err
        assert word in result.err
        assert result.err.strip().count("\n") == 0
        assert result.out == ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--output", "somewhere"), "no --data"),
        (("--data", "texts.csv"), "no --output"),
        (("--data", "x.csv", "--output", "y", "--set", "mlm_probabilty=0.2"), "mlm_probability"),
    ],
)
def test_a_command_that_lacks_something_is_refused(masking_encoder, arguments, word):
    result = run("pretrain", "--encoder", masking_encoder, *arguments)
    assert result.status == 2
    assert word in result.err


def test_masked_rows_give_the_loss_of_transformers(pretrained):
    import torch

    from longform.training.masked_rows import MaskedRows

    model = AutoModelForMaskedLM.from_pretrained(pretrained[0]).eval()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, 60, (3, 12), generator=generator)
    labels = torch.where(torch.rand((3, 12), generator=generator) < 0.3, ids, -100)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    expected = model(**batch).loss
    scores, targets = MaskedRows(model).score(model, batch)
    assert len(scores) == len(targets) == int((labels != -100).sum())
    torch.testing.assert_close(torch.nn.functional.cross_entropy(scores, targets), expected)
