"""The calls of Happy Transformer, and the configuration that its users know."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_runs import BAG_SETTINGS, succeed

import longform
from longform.bundle import load_bundle
from longform.config import parse_assignments
from longform.errors import ConfigError, InputError

pytestmark = pytest.mark.usefixtures("own_folders")

NESTED = """\
task: text_classification
model_name: {encoder}
training_args:
  per_device_train_batch_size: 8
  num_train_epochs: 3
  learning_rate: 3e-5
  warmup_steps: 500
"""


def lengthen(encoder: Path, folder: Path) -> Path:
    """The tiny BERT with as many positions as the default segment has."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    config = AutoConfig.from_pretrained(encoder)
    config.max_position_embeddings = 128
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def test_s1_17_the_nested_yaml_of_other_toolkits_trains_unchanged(corpus, encoder, tmp_path):
    longer = lengthen(encoder, tmp_path / "bert-longer")
    path = tmp_path / "config.yaml"
    path.write_text(NESTED.format(encoder=longer), encoding="utf-8")
    output = tmp_path / "model"
    result = succeed("train", path, "--data", corpus.train, "--output", output, "--json")
    trained = load_bundle(output).description.training["config"]
    assert trained["encoder"] == longer.name
    assert trained["per_device_train_batch_size"] == 8
    assert trained["num_train_epochs"] == 3
    assert trained["learning_rate"] == 3e-5
    assert trained["warmup_steps"] == 500
    assert result.json["training"]["epochs"] == 3
    # 43 documents in batches of 8, three times: 18 steps.
    (line,) = [line for line in result.err.splitlines() if "warmup_steps" in line]
    assert "9 steps" in line
    assert "500" in line


@dataclass
class Arguments:
    """As `TCTrainArgs` has its names."""

    batch_size: int = 8
    learning_rate: float = 0.02
    num_train_epochs: int = 4


def test_s1_26_the_facade_trains_judges_classifies_and_saves(corpus, tmp_path):
    happy = longform.HappyTextClassification(model_type="BAG", model_name="bag", num_labels=3)
    with pytest.raises(InputError, match="train"):
        happy.classify_text("一份文书。")
    settings = parse_assignments(list(BAG_SETTINGS))
    for name in ("per_device_train_batch_size", "learning_rate", "num_train_epochs"):
        del settings[name]
    result = happy.train(
        corpus.train, corpus.validation, args={**settings, **vars(Arguments(num_train_epochs=6))}
    )
    assert 0 < result.loss < 1.0986  # the loss of guessing among three labels
    assert result.metrics["accuracy"] > 0.8
    judged = happy.eval(corpus.test)
    assert judged.metrics["documents"] == 18
    document = corpus.documents[0]
    answer = happy.classify_text(document.text)
    happy.save(tmp_path / "saved")
    with pytest.raises(InputError, match="must not hold a bundle"):
        happy.save(tmp_path / "saved")
    predicted = json.loads(succeed("predict", tmp_path / "saved", document.text, "--json").out)
    assert predicted["predictions"][0]["label"] == answer.label
    assert predicted["predictions"][0]["score"] == pytest.approx(answer.score, abs=1e-5)
    again = longform.HappyTextClassification(load_path=str(tmp_path / "saved"))
    assert again.eval(corpus.test).loss == pytest.approx(judged.loss, abs=1e-5)


def test_s1_26_the_other_spelling_takes_arguments_of_any_kind(corpus, tmp_path):
    ht = longform.HappyTransformer(TASK_TYPE=longform.TEXT_CLASSIFICATION)
    arguments = Arguments(num_train_epochs=1)
    arguments.output_dir = str(tmp_path / "kept")
    result = ht.train(train_data=corpus.train, eval_data=corpus.validation, args=arguments)
    assert result.loss > 0
    trained = load_bundle(tmp_path / "kept").description.training["config"]
    assert trained["per_device_train_batch_size"] == 8
    assert trained["num_train_epochs"] == 1


def test_s1_26_what_does_not_fit_is_refused(corpus):
    with pytest.raises(InputError, match="text_generation"):
        longform.HappyTransformer(TASK_TYPE="text_generation")
    with pytest.raises(InputError, match="3 labels, and num_labels 5"):
        longform.HappyTextClassification(num_labels=5).train(corpus.train)
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        longform.HappyTransformer().train(corpus.train, args={"learnin_rate": 1e-3})
