"""What pruning and int8 do to an encoder: size, vectors, speed.

python benchmarks/compression.py ENCODER --corpus train.jsonl.gz --unseen dev.jsonl.gz
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine, print_machine
from tokenizers import Tokenizer

from longform.compression.folders import RECORD_FILE, EncoderFolder, open_encoder
from longform.compression.heads import (
    LabelledSegments,
    choose_heads,
    class_centroids,
    head_importance,
    keep_heads,
    segment_vectors,
)
from longform.compression.layers import keep_layers, place_layers
from longform.compression.measured_segments import read_batches
from longform.compression.vocabulary import prune_vocabulary
from longform.config import DataSettings, SegmentSettings
from longform.data.readers import DocumentReader
from longform.models.fake_quantization import make_quantization_aware, quantization_aware_layers
from longform.text.segmenter import Segmenter
from longform.text.sentences import sentence_boundaries
from longform.text.tokenization import TextTokenizer

SETTINGS = SegmentSettings(segment_prefix="query: ")
_ROWS, _TOKENS, _REPEATS = 16, 128, 4


def main() -> None:
    """Prune one thing at a time, compare with the whole encoder, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("--corpus", type=Path, required=True, help="names the tokens to keep")
    parser.add_argument("--unseen", type=Path, required=True, help="documents not in the corpus")
    parser.add_argument("--documents", type=int, default=500, help="compared of each file")
    parser.add_argument("--heads-documents", type=int, default=256, help="measure the heads")
    parser.add_argument("--pruned", type=Path, help="what 'longform prune' made with the corpus")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    machine = describe_machine()
    print_machine(machine)

    whole = open_encoder(arguments.encoder)
    batches, _ = read_batches(
        Segmenter(whole.tokenizer, SETTINGS),
        arguments.unseen,
        DataSettings(),
        arguments.heads_documents,
    )
    figures: dict[str, Any] = {
        "machine": machine,
        "encoder": arguments.encoder.name,
        "whole": {"parameters": _parameters(whole.encoder)},
        "vocabulary": _vocabulary(whole, arguments),
        **_smaller(whole, arguments, batches),
        "rounded_untrained": _rounded(whole, batches),
    }
    for name, result in figures.items():
        print(name, json.dumps(result, ensure_ascii=False))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _parameters(encoder: Any) -> int:
    return sum(parameter.numel() for parameter in encoder.parameters())


def _vocabulary(whole: EncoderFolder, arguments: argparse.Namespace) -> dict[str, Any]:
    """Prune the vocabulary, or take what was pruned; compare segmentation and vectors."""
    corpus, unseen = (
        [document.text for document in islice(DocumentReader(path), arguments.documents)]
        for path in (arguments.corpus, arguments.unseen)
    )
    if arguments.pruned:
        opened = open_encoder(arguments.pruned)
        encoder, tokenizer = opened.encoder, opened.tokenizer
        record = json.loads((arguments.pruned / RECORD_FILE).read_text(encoding="utf-8"))
        report = record["vocabulary"]
    else:
        encoder = copy.deepcopy(whole.encoder)
        tokenizer, pruned = prune_vocabulary(
            encoder, whole.tokenizer, lambda: _texts(arguments.corpus), SETTINGS
        )
        report = pruned.as_dict()
    return {
        **report,
        "parameters": _parameters(encoder),
        "megabytes_before": round(4 * _parameters(whole.encoder) / 1e6, 1),
        "megabytes_after": round(4 * _parameters(encoder) / 1e6, 1),
        "corpus": _segmentation(whole.tokenizer, tokenizer, corpus),
        "unseen": _segmentation(whole.tokenizer, tokenizer, unseen),
        **_compare_texts(whole, encoder, tokenizer, corpus[:32], unseen[:32]),
    }


def _texts(path: Path) -> Iterator[str]:
    for document in DocumentReader(path):
        yield document.text


def _segmentation(
    before: TextTokenizer, after: TextTokenizer, texts: Sequence[str]
) -> dict[str, float]:
    """Compare the tokens of each sentence, and the shares of unknown ones."""
    sentences = [
        text[start:end] for text in texts for start, end in pairwise(sentence_boundaries(text))
    ]
    pieces = Tokenizer.from_str(before.serialized).get_vocab()
    names = sorted(Tokenizer.from_str(after.serialized).get_vocab().items(), key=lambda row: row[1])
    old_ids = np.array([pieces[name] for name, _ in names])
    same = unknown_before = unknown_after = tokens = 0
    for start in range(0, len(sentences), 10_000):
        part = sentences[start : start + 10_000]
        pairs = list(zip(before.encode(part), after.encode(part), strict=True))
        same += sum(one == old_ids[other].tolist() for one, other in pairs if other)
        same += sum(one == other for one, other in pairs if not other)
        tokens += sum(len(one) for one, _ in pairs)
        unknown_before += sum(one.count(before.unknown_id) for one, _ in pairs)
        unknown_after += sum(other.count(after.unknown_id) for _, other in pairs)
    return {
        "documents": len(texts),
        "sentences": len(sentences),
        "identical_share": round(same / len(sentences), 6),
        "unknown_before": round(unknown_before / tokens, 8),
        "unknown_after": round(unknown_after / tokens, 8),
    }


def _compare_texts(
    whole: EncoderFolder,
    encoder: Any,
    tokenizer: TextTokenizer,
    corpus: Sequence[str],
    unseen: Sequence[str],
) -> dict[str, float]:
    result = {}
    for name, texts in (("corpus", corpus), ("unseen", unseen)):
        cosines, equal = [], True
        for text in texts:
            first = text[:300]
            pair = [
                _vector(model, Segmenter(words, SETTINGS), first)
                for model, words in ((whole.encoder, whole.tokenizer), (encoder, tokenizer))
            ]
            cosines.append(float(pair[0] @ pair[1]))
            equal = equal and torch.equal(pair[0], pair[1])
        result[f"{name}_least_cosine"] = round(min(cosines), 6)
        result[f"{name}_bit_equal"] = equal
    return result


def _vector(encoder: Any, segmenter: Segmenter, text: str) -> torch.Tensor:
    ids = torch.as_tensor(segmenter.segment(text).segments[0].token_ids.astype(np.int64))[None]
    with torch.inference_mode():
        return segment_vectors(encoder, LabelledSegments(ids, torch.ones_like(ids)))[0]


def _smaller(
    whole: EncoderFolder, arguments: argparse.Namespace, batches: Sequence[LabelledSegments]
) -> dict[str, Any]:
    """Keep half the layers, and half the heads, without training afterwards."""
    count = whole.encoder.config.num_hidden_layers
    rivals = {}
    for placing in ("even", "first", "last"):
        encoder = copy.deepcopy(whole.encoder)
        keep_layers(encoder, place_layers(count, count // 2, placing))
        rivals[f"layers_{count // 2}_{placing}"] = encoder
    segmenter = Segmenter(whole.tokenizer, SETTINGS)
    labelled, classes = read_batches(
        segmenter, arguments.corpus, DataSettings(), arguments.heads_documents
    )
    centroids = class_centroids(whole.encoder, labelled, classes)
    by_class = head_importance(whole.encoder, labelled, centroids)
    unlabelled = [LabelledSegments(item.input_ids, item.attention_mask) for item in labelled]
    for name, importance in (
        ("labels", by_class),
        ("vectors", head_importance(whole.encoder, unlabelled)),
        ("chance", [np.random.default_rng(0).random(len(layer)) for layer in by_class]),
    ):
        kept = choose_heads(importance, 0.5)
        rivals[f"heads_half_by_{name}"] = keep_heads(whole.encoder, kept)
    rates = _times({"whole": whole.encoder, **rivals})
    return {
        name: {
            "parameters": _parameters(encoder),
            "time_ratio": round(rates[name] / rates["whole"], 3),
            **_cosines(whole.encoder, encoder, batches),
        }
        for name, encoder in rivals.items()
    }


def _times(encoders: dict[str, Any]) -> dict[str, float]:
    """Return the least seconds of a batch, in turns, so that a busy moment hits all encoders."""
    ids = torch.randint(5, 1000, (_ROWS, _TOKENS))
    batch = LabelledSegments(ids, torch.ones_like(ids))
    least = dict.fromkeys(encoders, float("inf"))
    for _ in range(_REPEATS + 1):
        for name, encoder in encoders.items():
            started = time.perf_counter()
            with torch.inference_mode():
                segment_vectors(encoder, batch)
            least[name] = min(least[name], time.perf_counter() - started)
    return least


def _cosines(whole: Any, other: Any, batches: Sequence[LabelledSegments]) -> dict[str, float]:
    """Return the mean cosine to the whole encoder's vectors, and how alike their neighbours are."""
    with torch.inference_mode():
        one, two = (
            torch.cat([segment_vectors(model, batch) for batch in batches])
            for model in (whole, other)
        )
    neighbours = [(vectors @ vectors.T).fill_diagonal_(-1).argmax(dim=1) for vectors in (one, two)]
    return {
        "mean_cosine": round(float((one * two).sum(dim=1).mean()), 4),
        "same_neighbour": round(float((neighbours[0] == neighbours[1]).float().mean()), 4),
    }


def _rounded(whole: EncoderFolder, batches: Sequence[LabelledSegments]) -> dict[str, float]:
    """Round to int8 with ranges from a few batches, without training."""
    encoder = copy.deepcopy(whole.encoder)
    make_quantization_aware(encoder)
    for layer in quantization_aware_layers(encoder):
        layer.train()
    with torch.inference_mode():
        for batch in batches[::2]:
            segment_vectors(encoder, batch)
            for layer in quantization_aware_layers(encoder):
                layer.end_step()
    return _cosines(whole.encoder, encoder.eval(), batches[1::2])


if __name__ == "__main__":
    main()
