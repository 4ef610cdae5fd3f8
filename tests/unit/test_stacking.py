"""A linear model beneath a neural one: out of fold in training, added wherever it is served."""

import numpy as np
import pytest

import longform
from longform.bundle import load_bundle
from longform.config import load_config
from longform.data.labels import LabelMap
from longform.errors import ConfigError
from longform.export.bundles import write_bundle
from longform.export.encoders import EncoderExports
from longform.reporting import Reporter
from longform.training.fit import fit
from longform.training.stacking import fit_stack
from longform.types import Document

SETTINGS = {"encoder": "bag", "bag_dimension": 8, "vocabulary_size": 300, "bag_buckets": 50}


def config(**settings):
    return load_config(
        None,
        {**SETTINGS, "stacked": True, "linear_bits": 12, "report_to": [], **settings},
    )


def documents(count: int, seed: int = 0) -> list[Document]:
    generator = np.random.default_rng(seed)
    letters = list("甲乙丙丁戊己庚辛")
    return [
        Document(
            str(index),
            "".join(generator.choice(letters, 60)) + ("判决。" if index % 2 else "合同。"),
            "law" if index % 2 else "deal",
        )
        for index in range(count)
    ]


def test_a_document_is_scored_by_models_that_never_saw_it():
    # Labels by chance: a model that saw a document knows its label by heart, another one cannot.
    generator = np.random.default_rng(1)
    plain = [
        Document(item.id, item.text[:60] + item.id, str(generator.integers(2)))
        for item in documents(120)
    ]
    labels = LabelMap.from_documents(plain)
    stack = fit_stack(config(linear_min_documents=1), plain, plain, labels, Reporter())
    targets = labels.targets(plain)
    assert (stack.train.argmax(axis=1) == targets).mean() < 0.7
    assert (stack.validation.argmax(axis=1) == targets).mean() > 0.95


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacked")
    trained = fit(config(num_train_epochs=1), documents(80), documents(20, 1), folder / "work")
    exports = EncoderExports(trained.model, None, folder / "exports")
    write_bundle(trained, documents(20, 1), exports, folder / "bundle")
    return folder / "bundle"


def test_the_linear_logits_are_in_the_answer(bundle):
    judged = documents(10, 2)
    with longform.load(bundle, "onnx") as predictor:
        scorer = predictor.scorer
        together = scorer.score(judged).logits
        beneath = scorer.linear.score(judged).logits
        scorer.linear = None
        alone = scorer.score(judged).logits
        assert np.allclose(together, alone + beneath, atol=1e-5)
        assert np.abs(beneath).min() > 0.01


def test_known_answers_are_those_of_both(bundle):
    with longform.load(bundle, "onnx") as predictor:
        assert predictor.check_golden() < 1e-3
        predictor.scorer.linear.model.weights.bias[:] += 5.0
        with pytest.raises(longform.errors.ParityError):
            predictor.check_golden()


def test_half_a_document_still_has_the_linear_model_beneath(bundle):
    judged = [Document("0", "。".join(item.text for item in documents(30, 3)))]
    with longform.load(bundle, "onnx") as predictor:
        (reading,) = predictor.scorer.read(judged)
        assert len(reading.vectors) > 2
        half = predictor.scorer.score_readings(
            [reading.vectors[:2]], [reading.document.positions[:2]]
        )
        assert np.isfinite(half).all()
        assert np.array_equal(reading.vectors[0, 8:], reading.vectors[1, 8:])


def test_the_bundle_says_what_is_beneath(bundle):
    description = load_bundle(bundle).description
    assert description.kind == "neural"
    assert description.knobs.model["stacked"] is True
    assert description.knobs.model["linear_analyzer"] == "char"


def test_a_linear_model_is_not_put_on_itself():
    with pytest.raises(ConfigError, match="stacked"):
        load_config(None, {"encoder": "linear", "stacked": True})
