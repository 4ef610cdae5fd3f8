"""Linear models: what is fitted, what is split, what is saved, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

import longform
from longform.config import RunConfig, load_config
from longform.errors import ConfigError, InputError
from longform.export.linear_bundle import write_linear_bundle
from longform.inference.linear import LinearScorer
from longform.text.cleaning import Cleaner
from longform.training.linear import fit_linear
from longform.types import Document

WORDS = {"合同": "双方签订合同约定价款与违约责任", "刑事": "被告人盗窃财物被判处有期徒刑"}
FILLER = "本院认为事实清楚证据充分依照法律规定判决如下"


def documents(count: int, seed: int = 0, *, labels: bool = False) -> list[Document]:
    generator = np.random.default_rng(seed)
    found = []
    for index in range(count):
        label = list(WORDS)[index % 2]
        drawn = ["".join(generator.permutation(list(FILLER))) + "。" for _ in range(6)]
        drawn[int(generator.integers(6))] = WORDS[label] + "。"
        # Later documents of a run of several labels have both, or none.
        several = ((label,), tuple(WORDS), ())[index % 3]
        found.append(
            Document(str(index), "".join(drawn), labels=several)
            if labels
            else Document(str(index), "".join(drawn), label)
        )
    return found


def small(**settings: object) -> RunConfig:
    return load_config(None, {"encoder": "linear", "linear_bits": 14, **settings})


@pytest.fixture(scope="module")
def trained():
    return fit_linear(small(), documents(60), documents(30, seed=1))


@pytest.fixture(scope="module")
def bundle(trained, tmp_path_factory):
    target = tmp_path_factory.mktemp("linear") / "bundle"
    write_linear_bundle(trained, documents(30, seed=1), target)
    return target


def test_it_learns_what_words_mean(trained):
    assert trained.metrics["accuracy"] == 1.0
    assert trained.config.linear_analyzer == "char"


def test_a_bundle_answers_like_what_was_fitted(trained, bundle):
    judged = documents(20, seed=2)
    reference = LinearScorer(trained.model, Cleaner(trained.config.segment_settings()))
    with longform.load(bundle) as predictor:
        found = predictor.scorer.score(judged)
        assert np.abs(found.logits - reference.score(judged).logits).max() < 0.05
        assert [item.label for item in predictor.predict(judged)] == [d.label for d in judged]
        assert predictor.backend_info.precision == "int8"
        assert predictor.check_golden() < 1e-4


def test_every_token_is_read(bundle):
    with longform.load(bundle) as predictor:
        (answer,) = predictor.predict(["合同 有效。" * 5_000])
    assert answer.coverage.tokens_total == answer.coverage.tokens_used == 5 * 5_000
    assert not answer.coverage.truncated


def test_the_parts_of_the_logits_add_up(trained):
    reader = trained.model.reader
    tokens = [reader.tokenize(documents(1, seed=3)[0].text)]
    parts = trained.model.token_contributions(tokens)
    whole = trained.model.contributions(trained.model.features(tokens))
    assert np.allclose(parts[0].sum(axis=0), whole, atol=1e-4)


def test_the_deciding_sentence_is_found_with_its_place(bundle):
    text = f"{FILLER}。" * 20 + f"{WORDS['刑事']}。" + f"{FILLER}。" * 20
    with longform.load(bundle) as predictor:
        (answer,) = predictor.predict([text], evidence=True)
    best = max(answer.evidence, key=lambda item: item.score)
    assert WORDS["刑事"] in text[best.start : best.end]
    assert answer.evidence[0].start == 0
    assert answer.evidence[-1].end == len(text)
    # The parts follow each other without a gap.
    starts = [item.start for item in answer.evidence[1:]]
    assert starts == [item.end for item in answer.evidence[:-1]]


def test_several_labels_a_document():
    model = fit_linear(small(), documents(60, labels=True), documents(30, seed=1, labels=True))
    assert model.rule.is_multi_label
    assert set(model.rule.thresholds) == set(WORDS)


def test_weights_stay_within_their_size(trained):
    tight = fit_linear(small(linear_megabytes=0.001), documents(60), documents(30, seed=1))
    assert len(tight.model.weights.buckets) <= 1_000 / (2 + 12)
    assert len(tight.model.weights.buckets) < len(trained.model.weights.buckets)
    assert tight.metrics["accuracy"] == 1.0


def test_two_texts_have_ngrams_of_their_own():
    pairs = [
        Document(str(i), *((a, "同") if a == b else (a, "异")), text_pair=b)
        for i, (a, b) in enumerate([("甲方", "甲方"), ("甲方", "乙方"), ("乙方", "乙方")] * 10)
    ]
    model = fit_linear(small(text_pair_column="other"), pairs, pairs)
    scorer = LinearScorer(model.model, Cleaner(model.config.segment_settings()))
    one, other = scorer.score(
        [Document("a", "甲方", text_pair="乙方"), Document("b", "乙方", text_pair="甲方")]
    ).logits
    assert not np.allclose(one, other)
    with pytest.raises(InputError, match="two texts"):
        scorer.score([Document("a", "甲方")])


def test_a_text_without_a_token_is_refused_by_name(bundle):
    with longform.load(bundle) as predictor, pytest.raises(InputError, match="document '7'"):
        predictor.predict([Document("7", " \n\t")])


def test_another_backend_is_refused(bundle):
    with pytest.raises(InputError, match="numpy"):
        longform.load(bundle, "openvino")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"selection": "head"}, "linear_blocks"),
        ({"frozen": True}, "frozen"),
        ({"linear_blocks": ["middle:3"]}, "middle:3"),
        ({"linear_blocks": ["whole", "whole"]}, "each once"),
    ],
)
def test_settings_that_a_linear_model_cannot_have(settings, message):
    with pytest.raises(ConfigError, match=message):
        small(**settings)


def test_answering_needs_neither_torch_nor_scikit_learn(bundle):
    code = (
        "import sys, json, longform\n"
        f"answer = longform.load({str(bundle)!r}).predict(['{WORDS['合同']}'])[0]\n"
        "names = [n for n in ('torch', 'sklearn', 'scipy', 'transformers') if n in sys.modules]\n"
        "print(json.dumps([answer.label, names]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == ["合同", []]
