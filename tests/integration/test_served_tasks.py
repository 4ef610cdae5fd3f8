"""Several labels, and one logit for a pair: a tiny bundle of each, its export, its answers."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import DECIDING, make_documents, train_in_python

from longform import load
from longform.types import Document

pytest.importorskip("fastapi", reason="needs the extra serve")
from fastapi.testclient import TestClient

from longform.serving.models import ModelRegistry
from longform.serving.rest import create_app
from longform.serving.service import ServiceState
from longform.serving.settings import ServerSettings

pytestmark = pytest.mark.usefixtures("own_folders")


def label_by_sentences(document: Document, *, several: bool, pairs: bool) -> Document:
    """Give a document a second text, or several labels: those of its deciding sentences."""
    generator = random.Random(document.id)
    other = make_documents(6, generator.randrange(1_000))[generator.randrange(6)]
    names = {document.label, other.label} if pairs else {document.label}
    if not pairs and generator.random() < 0.5:
        # A second one, whose sentence is put in front.
        names.add("买卖")
        document = dataclasses.replace(document, text=DECIDING["买卖"] + document.text)
    return dataclasses.replace(
        document,
        text_pair=other.text if pairs else None,
        label=None if several else ("same" if len(names) == 1 else "other"),
        # Of no label at all where the names are those of leases alone.
        labels=tuple(sorted(names - {"租赁"})) if several else None,
    )


@dataclass(frozen=True)
class Kind:
    """A kind of model: what it judges, and settings that differ."""

    several: bool
    pairs: bool
    settings: tuple[str, ...]

    def documents(self, count: int, seed: int) -> list[Document]:
        return [
            label_by_sentences(document, several=self.several, pairs=self.pairs)
            for document in make_documents(count, seed)
        ]


KINDS = {
    "several labels": Kind(True, False, ()),
    "one logit for a pair": Kind(False, True, ("binary_logits=1", "aggregator=lstm")),
}


@dataclass(frozen=True)
class Trained:
    """A bundle with documents that it has not seen."""

    kind: Kind
    folder: Path
    documents: list[Document]

    def body(self, documents: Sequence[Document]) -> dict[str, object]:
        items = [
            {"text": document.text, "text_pair": document.text_pair}
            if self.kind.pairs
            else document.text
            for document in documents
        ]
        return {"inputs": items, "evidence": True}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS.keys())
def trained(request, own_folders, tmp_path_factory):
    kind = request.param
    settings = ["max_steps=6", *kind.settings]
    if kind.pairs:
        settings.append("text_pair_column=text_pair")
    folder = train_in_python(
        kind.documents(48, seed=1),
        kind.documents(12, seed=2),
        tmp_path_factory.mktemp("task") / "model",
        *settings,
    )
    return Trained(kind, folder, kind.documents(9, seed=3))


def test_the_export_gives_the_logits_of_the_trained_model(trained):
    record = json.loads((trained.folder / "parity.json").read_text("utf-8"))["targets"]["onnx:fp32"]
    assert record["passed"]
    assert record["documents"] == 12
    with load(trained.folder, "torch:fp32") as reference, load(trained.folder, "onnx") as model:
        expected = reference.scorer.score(trained.documents).logits
        found = model.scorer.score(trained.documents).logits
        assert model.check_golden() <= 1e-4
    assert np.abs(found - expected).max() <= 1e-4
    # Otherwise the documents would not have told the two apart.
    assert np.ptp(expected, axis=0).max() > 1e-2
    if "binary_logits=1" in trained.kind.settings:
        assert (found[:, 0] == 0).all()


@pytest.fixture(scope="module")
def served(trained):
    """A client of a server of the bundle, and a predictor of the same."""
    registry = ModelRegistry(lambda folder: load(folder, "onnx"))
    service = registry.add("default", trained.folder)
    with (
        load(trained.folder, "onnx") as predictor,
        TestClient(create_app(registry, ServerSettings())) as client,
    ):
        assert service.wait_until_opened(60) is ServiceState.READY
        yield client, predictor


def test_r87_a_server_answers_as_the_predictor_does(trained, served):
    client, predictor = served
    reply = client.post("/predict", json=trained.body(trained.documents))
    assert reply.status_code == 200
    answers = reply.json()["predictions"]
    expected = predictor.predict(trained.documents, evidence=True)
    for answer, prediction, document in zip(answers, expected, trained.documents, strict=True):
        assert answer["label"] == prediction.label
        assert answer["coverage"] == prediction.coverage.as_dict()
        scores = {entry["label"]: entry["score"] for entry in answer["scores"]}
        assert scores == pytest.approx({one.label: one.score for one in prediction.scores})
        assert ("labels" in answer) == trained.kind.several
        if trained.kind.several:
            given = {entry["label"] for entry in answer["labels"]}
            least = predictor.rule.threshold
            assert given == {name for name, score in scores.items() if score >= least(name)}
        else:
            assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
        check_evidence(answer["evidence"], document)


def check_evidence(evidence: list[dict[str, object]], document: Document) -> None:
    """Every stretch is within its own text, and together they are all of it."""
    texts = [document.text, document.text_pair]
    assert {item.get("part", 0) for item in evidence} == (
        {0} if document.text_pair is None else {0, 1}
    )
    for part, text in enumerate(texts[: 1 if document.text_pair is None else 2]):
        own = [item for item in evidence if item.get("part", 0) == part]
        assert ("part" in own[0]) == (document.text_pair is not None)
        read = "".join(text[item["start"] : item["end"]] for item in own)
        assert read.replace(" ", "") == text.replace(" ", "")


def test_a_server_says_what_it_judges_and_refuses_the_other(trained, served):
    client, predictor = served
    info = client.get("/info").json()
    assert info["text_pair"] is trained.kind.pairs
    assert info["problem_type"] == predictor.bundle.description.problem_type
    assert [entry["label"] for entry in info["labels"]] == list(predictor.rule.labels)
    wrong = "一篇。" if trained.kind.pairs else {"text": "一篇。", "text_pair": "又一篇。"}
    reply = client.post("/predict", json={"inputs": wrong})
    assert reply.status_code == 422
    assert "This model judges" in reply.json()["error"]
