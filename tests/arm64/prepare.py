"""Trains the small bundle that the arm64 job reads, and writes down what this machine answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from tiny_runs import BAG_SETTINGS, make_documents, train, write_corpus, write_encoder

from longform import load

BERT = (
    "aggregator=lstm", "aggregator_hidden=8", "segment_length=32", "report_to=[]",
    "num_train_epochs=3", "learning_rate=0.003", "device=cpu",
)  # fmt: skip


def main(folder: Path) -> None:
    """Write `bag/`, `bert/` and `expected.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = write_corpus(folder)
    encoder = write_encoder(folder / "encoder")
    runs = {"bag": (BAG_SETTINGS, ()), "bert": (BERT, ("--encoder", encoder))}
    texts = [document.text for document in make_documents(6, seed=8)] + ["短文。", "A short text."]
    expected = {}
    for name, (settings, options) in runs.items():
        result = train(corpus, folder / name, *settings, options=options)
        assert result.status == 0, result.err
        with load(folder / name, "onnx") as predictor:
            answers = [predictor.predict([text])[0] for text in texts]
        expected[name] = [
            {entry.label: entry.score for entry in answer.scores} for answer in answers
        ]
    content = {"texts": texts, "expected": expected}
    (folder / "expected.json").write_text(json.dumps(content, ensure_ascii=False), "utf-8")


main(Path(sys.argv[1]))
