"""How fast are documents classified: longform's backends beside what people run today.

Contenders have the same documents, encoder weights and threads, a process each, and take turns:

- the plain loop: one piece of 512 characters at a time, padded to 512 tokens, eager fp32 PyTorch;
- transformers' feature-extraction pipeline, in batches over longform's segments, fp32 and bf16;
- sentence-transformers' `encode` of the segments, which sorts them, in bf16;
- optimum-intel's OpenVINO model over sorted batches of the segments, in bf16;
- BELT's classifier with pooling, which cuts by itself and has a head of its own (its labels say
  nothing here);
- every backend of longform that runs on the machine.

A library that is not installed is reported as absent. Segments of the peers are the texts of
longform's, so that they read the same tokens; their vectors go through the bundle's head.

    python benchmarks/inference.py --bundle DIR --data FILE --documents 200 --json F
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, print_machine

from longform.backends.choice import candidates
from longform.backends.onnx import OnnxHead
from longform.backends.threads import granted_threads
from longform.bundle import load_bundle
from longform.cli.bench import BASELINE, PlainContender
from longform.config import load_config
from longform.data.readers import read_documents
from longform.data.samples import generate_documents
from longform.evaluation.benchmark import BundleContender, Speed, figures, measure_workload
from longform.evaluation.turns import Contender, take_turns
from longform.inference.packing import split_by_document, stack_documents
from longform.reporting import ConsoleReporter
from longform.text.documents import segment_documents
from longform.text.segmenter import Segmenter
from longform.text.tokenization import TextTokenizer
from longform.types import Document, Floats

LIBRARIES = (
    *("torch", "transformers", "tokenizers", "onnxruntime", "openvino"),
    *("sentence-transformers", "optimum-intel", "belt-nlp"),
)
_BATCH = 16

Encode = Callable[[list[str]], Floats]


@dataclass(frozen=True)
class Peer:
    """Another library over a bundle's encoder. See `evaluation.turns.Contender`."""

    name: str
    folder: Path
    encoder: Path

    def open(self) -> PeerRunner:
        """Load it as its documentation does."""
        import torch

        torch.set_num_threads(granted_threads())
        return PeerRunner(self)


class PeerRunner:
    """A peer, opened: cuts with longform's segmenter, encodes with its own library."""

    def __init__(self, peer: Peer) -> None:
        bundle = load_bundle(peer.folder)
        tokenizer = TextTokenizer.from_file(bundle.path("tokenizer.json"))
        settings = bundle.description.knobs.segments
        self._segmenter = Segmenter(tokenizer, settings)
        self._prefix = settings.segment_prefix
        self._labels = bundle.description.labels
        self._head = OnnxHead(bundle.path("onnx/head.onnx"), granted_threads())
        self._belt = peer.name == "belt-nlp"
        self._bf16 = peer.name.endswith("bf16")
        opener = {
            "pipeline": open_pipeline,
            "sentence-transformers": open_sentence_transformers,
            "optimum-intel": open_optimum,
            "belt-nlp": open_belt,
        }[peer.name.partition(" ")[0]]
        self._encode = opener(peer.encoder, self._bf16, settings.segment_length)

    def run(self, documents: Sequence[Document]) -> list[str]:
        """Classify documents."""
        if self._belt:
            self._encode([document.text for document in documents])
            return ["" for _ in documents]
        segmented = list(segment_documents(self._segmenter, documents, pairs=False))
        texts = [
            self._prefix + document.text[piece.start : piece.end]
            for document, pieces in zip(documents, segmented, strict=True)
            for piece in pieces.segments
        ]
        vectors = split_by_document(self._encode(texts).astype(np.float32), segmented)
        positions = [item.positions for item in segmented]
        logits = self._head.score(*stack_documents(vectors, positions))
        return [self._labels[row] for row in logits.argmax(axis=1)]

    def matrix_rate(self) -> float | None:
        """Return the GFLOP/s of a large product in torch, in the peer's precision."""
        import torch

        from longform.backends.base import MATRIX_SIZE, best_rate

        dtype = torch.bfloat16 if self._bf16 else torch.float32
        left, right = (torch.randn(MATRIX_SIZE, MATRIX_SIZE).to(dtype) for _ in range(2))
        return best_rate(lambda: left @ right)

    def close(self) -> None:
        """Nothing is held beyond the process."""


def open_pipeline(encoder: Path, bf16: bool, length: int) -> Encode:
    """transformers: `pipeline("feature-extraction")`, batches in the order that texts come."""
    import torch
    from transformers import AutoModel, AutoTokenizer, pipeline

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModel.from_pretrained(encoder, dtype=torch.bfloat16 if bf16 else torch.float32)
    extract = pipeline("feature-extraction", model=model, tokenizer=tokenizer, device="cpu")

    def encode(texts: list[str]) -> Floats:
        options = {"truncation": True, "max_length": length}
        rows = extract(texts, batch_size=_BATCH, return_tensors=True, tokenize_kwargs=options)
        # What the pipeline returns still holds its padding, which no mask tells apart.
        real = [len(ids) for ids in tokenizer(texts, **options)["input_ids"]]
        pooled = [row[0, :count].float().mean(dim=0) for row, count in zip(rows, real, strict=True)]
        return torch.stack(pooled).numpy()

    return encode


def open_sentence_transformers(encoder: Path, bf16: bool, length: int) -> Encode:
    """sentence-transformers: `encode`, which sorts by length."""
    import torch
    from sentence_transformers import SentenceTransformer, models

    dtype = torch.bfloat16 if bf16 else torch.float32
    transformer = models.Transformer(
        str(encoder), max_seq_length=length, model_args={"dtype": dtype}
    )
    pooling = models.Pooling(transformer.get_word_embedding_dimension(), pooling_mode="mean")
    model = SentenceTransformer(modules=[transformer, pooling], device="cpu")

    def encode(texts: list[str]) -> Floats:
        found = model.encode(
            texts, batch_size=_BATCH, show_progress_bar=False, convert_to_tensor=True
        )
        return found.float().cpu().numpy()

    return encode


def open_optimum(encoder: Path, bf16: bool, length: int) -> Encode:
    """optimum-intel: an OpenVINO model, over batches of texts sorted by length."""
    from optimum.intel import OVModelForFeatureExtraction
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    options = {"INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32"}
    model = OVModelForFeatureExtraction.from_pretrained(encoder, export=True, ov_config=options)

    def encode(texts: list[str]) -> Floats:
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        rows: list[Any] = [None] * len(texts)
        for start in range(0, len(order), _BATCH):
            part = order[start : start + _BATCH]
            inputs = tokenizer(
                [texts[index] for index in part],
                padding=True,
                truncation=True,
                max_length=length,
                return_tensors="np",
            )
            hidden = np.asarray(model(**inputs).last_hidden_state)
            mask = inputs["attention_mask"][..., np.newaxis]
            pooled = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
            for index, row in zip(part, pooled, strict=True):
                rows[index] = row
        return np.stack(rows)

    return encode


def open_belt(encoder: Path, bf16: bool, length: int) -> Encode:
    """BELT: whole texts, cut into pieces of 510 tokens, pooled by the mean."""
    from belt_nlp.bert_classifier_with_pooling import BertClassifierWithPooling

    model = BertClassifierWithPooling(
        num_labels=2,
        pretrained_model_name_or_path=str(encoder),
        device="cpu",
        batch_size=1,
        learning_rate=5e-5,
        epochs=1,
        chunk_size=510,
        stride=510,
        minimal_chunk_length=1,
        pooling_strategy="mean",
    )

    def encode(texts: list[str]) -> Floats:
        return (
            model.predict_logits(texts)
            if hasattr(model, "predict_logits")
            else (model._predict_logits(texts).numpy())
        )

    return encode


def write_encoder(folder: Path, place: Path) -> Path:
    """Write a bundle's encoder and tokenizer as the folder that other libraries read."""
    from transformers import PreTrainedTokenizerFast

    from longform.models import load_classifier

    model = load_classifier(folder)
    encoder = model.encoder.model
    encoder.save_pretrained(place)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(encoder.config.pad_token_id or 0)
    tokenizer.save_pretrained(place)
    return place


def make_bundle(place: Path) -> tuple[Path, list[Document]]:
    """Train a tiny model on a synthetic corpus, for a look at the benchmark itself."""
    from longform.export.bundles import write_bundle
    from longform.export.encoders import EncoderExports
    from longform.training.fit import fit

    documents = generate_documents(60, seed=1)
    config = load_config(None, {"num_train_epochs": 1})
    trained = fit(config, documents[:40], documents[40:], place / "training")
    exports = EncoderExports(trained.model, None, place / "exports")
    write_bundle(trained, documents[40:], exports, place / "model")
    return place / "model", documents[:20]


def contenders(bundle: Path, encoder: Path | None, only: Sequence[str]) -> list[Contender]:
    """Return all that take part, those of longform last."""
    peers: list[Contender] = []
    if encoder is not None:
        names = (
            *("pipeline fp32", "pipeline bf16"),
            *("sentence-transformers bf16", "optimum-intel bf16", "belt-nlp"),
        )
        peers = [PlainContender(bundle), *(Peer(name, bundle, encoder) for name in names)]
    ours = [BundleContender(bundle, str(item)) for item in candidates(load_bundle(bundle))]
    return [item for item in [*peers, *ours] if not only or item.name in only]


def versions() -> dict[str, str | None]:
    """Return the version of each library that takes part; None of those that are absent."""
    found: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def ratios(speeds: Sequence[Speed], ours: set[str]) -> dict[str, Any]:
    """Hold the best of longform against the plain loop, and against the best of the peers."""
    rates = {s.name: s.documents_per_second for s in speeds if s.documents_per_second}
    best = max(ours & rates.keys(), key=lambda name: rates[name])
    # BELT is not among them: its head and its labels are not those of the bundle.
    peers = rates.keys() - ours - {BASELINE}
    fastest = max(peers, key=lambda name: rates[name], default=None)
    plain = rates.get(BASELINE)
    return {
        "best": best,
        "best_peer": fastest,
        "best_over_plain_loop": round(rates[best] / plain, 2) if plain else None,
        "best_over_peers": round(rates[best] / rates[fastest], 2) if fastest else None,
    }


def main() -> None:
    """Measure, print a table and, where asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[], help="names of contenders")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    reporter = ConsoleReporter()
    machine = describe_machine()
    print_machine(machine)
    with tempfile.TemporaryDirectory() as work:
        encoder = None
        if arguments.bundle:
            bundle = arguments.bundle
            documents = list(read_documents(arguments.data).documents[: arguments.documents])
            encoder = write_encoder(bundle, Path(work) / "encoder")
        else:
            bundle, documents = make_bundle(Path(work))
        workload = measure_workload(bundle, documents)
        chosen = contenders(bundle, encoder, arguments.only)
        turns = take_turns(chosen, documents, arguments.rounds, documents[:20], reporter)
    reference = next((item.labels for item in turns if item.name == "onnx:fp32"), [])
    speeds = figures(turns, workload, reference)
    ours = {item.name for item in chosen if isinstance(item, BundleContender)}
    summary = ratios(speeds, ours)
    print(f"{'contender':28} {'documents/s':>12} {'GFLOP/s':>9} {'ceiling':>9} {'same label':>11}")
    for speed in sorted(speeds, key=lambda item: item.documents_per_second or 0.0):
        if speed.documents_per_second is None:
            print(f"{speed.name:28} did not run: {speed.failure}")
            continue
        print(
            f"{speed.name:28} {speed.documents_per_second:12.3f} "
            f"{speed.gflops_per_second or 0:9.0f} {speed.ceiling or 0:9.0f} "
            f"{100 * (speed.agreement or 0):10.1f}%"
        )
    print(summary)
    if arguments.json:
        content = {
            "machine": machine,
            "versions": versions(),
            "workload": asdict(workload),
            **summary,
            "contenders": [speed.as_dict() for speed in speeds],
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
