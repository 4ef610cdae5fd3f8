"""`longform prune`: a folder that training takes, whole or not at all; refusals with a way out."""

from __future__ import annotations

import json

import pytest
from tiny_runs import run, succeed, train

from longform.compression import folders

TINY = ("aggregator=mean", "max_steps=2", "segment_length=32", "report_to=[]")


@pytest.fixture(scope="module")
def pruned(own_folders, corpus, encoder, tmp_path_factory):
    output = tmp_path_factory.mktemp("pruned") / "small"
    options = ("--vocabulary", corpus.train, "--no-characters", "--layers", "1")
    result = succeed(
        "prune", encoder, "--output", output, *options, "--heads", "1", "--data", corpus.train,
        "--json",
    )  # fmt: skip
    return output, result


def test_all_three_prunings_are_done_and_recorded(pruned, encoder):
    output, result = pruned
    record = json.loads((output / "pruning.json").read_text())
    assert result.json == {"encoder": str(output), **record}
    assert record["layers"]["kept"] == [1]
    assert record["heads"]["labelled"] is True
    assert [len(layer) for layer in record["heads"]["kept"]] == [1]
    assert record["vocabulary"]["tokens_after"] < record["vocabulary"]["tokens_before"]
    removed = sum(record[part]["parameters_removed"] for part in ("vocabulary", "layers", "heads"))
    assert record["before"]["parameters"] - record["after"]["parameters"] == removed
    weights = [(folder / "model.safetensors").stat().st_size for folder in (output, encoder)]
    assert weights[0] < 0.7 * weights[1]
    assert "train or distil" in result.err
    assert not list(output.parent.glob(".*"))
    assert not [path for path in output.iterdir() if path.name.startswith("vocab")]


def test_training_takes_the_folder_and_pruning_takes_the_bundle(pruned, corpus, tmp_path):
    output, _ = pruned
    bundle = tmp_path / "bundle"
    trained = train(corpus, bundle, *TINY, options=("--encoder", output))
    assert trained.status == 0, trained.err
    assert trained.json["parity"]["onnx:fp32"]["passed"]
    evaluated = succeed("evaluate", bundle, "--data", corpus.test, "--backend", "torch", "--json")
    assert 0 <= evaluated.json["accuracy"] <= 1
    again = tmp_path / "again"
    result = succeed("prune", bundle, "--output", again, "--vocabulary", corpus.test, "--json")
    assert result.json["from_bundle"] is True
    assert "head stays behind" in result.err


def test_plain_transformers_loads_fewer_tokens_and_layers(encoder, corpus, tmp_path):
    from transformers import AutoModel, AutoTokenizer, BertModel

    output = tmp_path / "small"
    succeed("prune", encoder, "--output", output, "--vocabulary", corpus.train, "--layers", "1")
    model, tokenizer = AutoModel.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    assert type(model) is BertModel
    assert model.config.num_hidden_layers == 1
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.pad_token_id == model.config.pad_token_id == 0


def test_unlabelled_documents_measure_heads_as_well(encoder, tmp_path):
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "本案于去年三月立案。"}\n{"text": "买受人应当付清货款。"}\n')
    result = succeed(
        "prune", encoder, "--output", tmp_path / "out", "--heads", "0.5", "--data", texts, "--json"
    )
    assert result.json["heads"]["labelled"] is False
    assert sum(len(layer) for layer in result.json["heads"]["kept"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "something to prune"),
        (("--layers", "3"), "3 of 2 layers"),
        (("--layers", "1,0"), "rising order"),
        (("--layers", "few"), "--layers few"),
        (("--layers", "1", "--placing", "odd"), "--placing odd"),
        (("--heads", "0.5"), "--heads without --data"),
        (("--vocabulary", "nowhere.csv"), "nowhere.csv"),
        (("--layers", "1", "--set", "no_such=1"), "no_such"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_way_out(encoder, tmp_path, options, message):
    result = run("prune", encoder, "--output", tmp_path / "out", *options)
    assert result.status == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "out").exists()


def test_heads_are_a_number_that_layers_have(encoder, corpus, tmp_path):
    options = ("--heads", "5", "--data", corpus.train)
    result = run("prune", encoder, "--output", tmp_path / "out", *options)
    assert "the heads are measured on those" in result.err
    assert (result.status, "layers of 2 to 2 heads" in result.err) == (2, True)


def test_a_folder_that_is_no_encoder_and_a_bundle_of_bag_are_refused(bundle, tmp_path):
    result = run("prune", tmp_path, "--output", tmp_path / "out", "--layers", "1")
    assert (result.status, "no config.json" in result.err) == (2, True)
    result = run("prune", bundle, "--output", tmp_path / "out", "--layers", "1")
    assert (result.status, "the encoder 'bag'" in result.err) == (2, True)


def test_only_what_prune_wrote_is_replaced_and_only_when_asked(encoder, tmp_path):
    output = tmp_path / "out"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    for flags in ((), ("--overwrite",)):
        result = run("prune", encoder, "--output", foreign, "--layers", "1", *flags)
        assert (result.status, "never deletes" in result.err) == (2, True)
    assert (foreign / "thesis.txt").read_text() == "years of work"
    succeed("prune", encoder, "--output", output, "--layers", "1")
    result = run("prune", encoder, "--output", output, "--layers", "0,1")
    assert (result.status, "--overwrite" in result.err) == (2, True)
    succeed("prune", encoder, "--output", output, "--layers", "0,1", "--overwrite")
    assert json.loads((output / "config.json").read_text())["num_hidden_layers"] == 2
    assert not list(tmp_path.glob(".*"))


def test_r34_a_failed_save_leaves_what_was_there(encoder, tmp_path, monkeypatch):
    output = tmp_path / "out"
    succeed("prune", encoder, "--output", output, "--layers", "1")
    before = {path.name: path.read_bytes() for path in output.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders.FileSystem, "sync_tree", full)
    result = run("prune", encoder, "--output", output, "--layers", "0,1", "--overwrite")
    assert (result.status, "No space left" in result.err) == (1, True)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert not list(tmp_path.glob(".*"))
