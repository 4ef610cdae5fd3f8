"""A pruned encoder: vocabulary, layers and heads, in this order, measured and saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longform.compression.folders import EncoderFolder, check_target, open_encoder, save_encoder
from longform.compression.heads import (
    LabelledSegments,
    check_prunable,
    choose_heads,
    class_centroids,
    head_importance,
    keep_heads,
)
from longform.compression.layers import Placing, keep_layers, place_layers
from longform.compression.measured_segments import read_batches
from longform.compression.vocabulary import prune_vocabulary
from longform.config import DataSettings, SegmentSettings
from longform.data.readers import DocumentReader
from longform.errors import InputError
from longform.models.pruned import heads_per_layer
from longform.reporting import Reporter
from longform.text.segmenter import Segmenter
from longform.types import Document


@dataclass(frozen=True, slots=True)
class PruningPlan:
    """What to prune, and on what.

    Attributes:
        vocabulary: Files whose texts name the tokens to keep; none leaves the vocabulary.
        characters: Keep every piece of one character as well.
        layers: How many layers to keep, or which; None keeps all.
        placing: Which layers, where only their number is given.
        heads: Share of heads to keep, or number in each layer; None keeps all.
        data: Documents that head importance is measured on.
        documents: Most of them that are read.
        segments: How texts are cleaned and cut.
        columns: How the files are read.
    """

    vocabulary: tuple[Path, ...] = ()
    characters: bool = True
    layers: int | tuple[int, ...] | None = None
    placing: Placing = "even"
    heads: float | None = None
    data: Path | None = None
    documents: int = 256
    segments: SegmentSettings = field(default_factory=SegmentSettings)
    columns: DataSettings = field(default_factory=DataSettings)

    def check(self) -> None:
        """Refuse a plan that prunes nothing, or heads on nothing.

        Raises:
            InputError: It does.
        """
        if not self.vocabulary and self.layers is None and self.heads is None:
            raise InputError(
                "There must be something to prune.",
                found="none of --vocabulary, --layers and --heads",
                fix="Give --vocabulary FILE, --layers 6 or --heads 0.5, or several of them.",
            )
        if self.heads is not None and self.data is None:
            raise InputError(
                "Which heads matter is measured on documents.",
                found="--heads without --data",
                fix="Add --data FILE; labels are used where there are any.",
            )


def prune(
    source: Path,
    target: Path,
    plan: PruningPlan,
    *,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Prune an encoder and save it as a folder that `--encoder` takes.

    Args:
        source: An encoder's folder, or a bundle.
        target: The folder to write.
        plan: What to prune.
        overwrite: Replace an encoder that was pruned into this folder before.
        reporter: Told how it goes.

    Returns:
        What was done, as it stands in `pruning.json`.

    Raises:
        InputError: The plan, the encoder or the files cannot be used.
        LongformError: The result cannot be saved.
    """
    reporter = reporter or Reporter()
    plan.check()
    check_target(target, overwrite)
    opened = open_encoder(source)
    if plan.heads is not None:
        check_prunable(opened.encoder)
    before = _size(opened.encoder)
    record: dict[str, Any] = {"source": source.name, "from_bundle": opened.from_bundle}
    if plan.vocabulary:
        record["vocabulary"] = _prune_vocabulary(opened, plan, reporter)
    if plan.layers is not None:
        record["layers"] = _prune_layers(opened, plan, reporter)
    if plan.heads is not None:
        record["heads"] = _prune_heads(opened, plan, reporter)
    record |= {"before": before, "after": _size(opened.encoder)}
    save_encoder(opened, target, record, overwrite=overwrite)
    return record


def _size(encoder: Any) -> dict[str, int]:
    parameters = list(encoder.parameters())
    return {
        "parameters": sum(parameter.numel() for parameter in parameters),
        "bytes": sum(parameter.numel() * parameter.element_size() for parameter in parameters),
    }


def _prune_vocabulary(
    opened: EncoderFolder, plan: PruningPlan, reporter: Reporter
) -> dict[str, Any]:
    def texts() -> Iterator[str]:
        for path in plan.vocabulary:
            yield from _texts(DocumentReader(path, plan.columns, labelled=False))

    reporter.say("Reading the corpus, once for its tokens and once to see that none changed.")
    opened.tokenizer, report = prune_vocabulary(
        opened.encoder, opened.tokenizer, texts, plan.segments, characters=plan.characters
    )
    reporter.say(
        f"Vocabulary: {report.tokens_after:,} of {report.tokens_before:,} tokens stay, "
        f"{report.tokens_used:,} of them used by the corpus, whose {report.corpus_tokens:,} tokens "
        f"are what they were; {report.bytes_removed / 1e6:.1f} MB less."
    )
    return report.as_dict()


def _prune_layers(opened: EncoderFolder, plan: PruningPlan, reporter: Reporter) -> dict[str, Any]:
    count = int(opened.encoder.config.num_hidden_layers)
    kept = (
        place_layers(count, plan.layers, plan.placing)
        if isinstance(plan.layers, int)
        else list(plan.layers or ())
    )
    removed = keep_layers(opened.encoder, kept)
    reporter.say(
        f"Layers: {', '.join(map(str, kept))} of 0 to {count - 1} stay. The vectors are others "
        "now: train or distil the encoder."
    )
    return {"before": count, "kept": kept, "parameters_removed": removed}


def _prune_heads(opened: EncoderFolder, plan: PruningPlan, reporter: Reporter) -> dict[str, Any]:
    settings, longest = plan.segments, opened.longest_segment
    if longest is not None and settings.segment_length > longest:
        settings = settings.model_copy(update={"segment_length": longest, "overlap": 0})
        reporter.say(
            f"The encoder takes {longest} tokens at once: the heads are measured on those."
        )
    if plan.data is None:
        raise ValueError("the plan was not checked")
    segmenter = Segmenter(opened.tokenizer, settings)
    batches, classes = read_batches(segmenter, plan.data, plan.columns, plan.documents)
    before = heads_per_layer(opened.encoder)
    segments = sum(len(batch.input_ids) for batch in batches)
    how = f"{classes} classes" if classes else "without labels, by how far the vectors move"
    reporter.say(f"Heads: measuring their importance on {segments:,} segments, {how}.")
    centroids = class_centroids(opened.encoder, batches, classes) if classes else None
    with reporter.track("Measuring heads", len(batches), unit="batches") as advance:

        def watched() -> Iterator[LabelledSegments]:
            for batch in batches:
                yield batch
                advance(1)

        importance = head_importance(opened.encoder, watched(), centroids)
    kept = choose_heads(importance, plan.heads or 1.0)
    size = _size(opened.encoder)["parameters"]
    opened.encoder = keep_heads(opened.encoder, kept)
    after = heads_per_layer(opened.encoder)
    reporter.say(
        f"Heads: {sum(after)} of {sum(before)} stay, {min(after)} to {max(after)} a layer. The "
        "vectors are others now: train or distil the encoder."
    )
    return {
        "before": before,
        "kept": kept,
        "labelled": bool(classes),
        "importance": [[round(float(value), 6) for value in layer] for layer in importance],
        "parameters_removed": size - _size(opened.encoder)["parameters"],
    }


def _texts(documents: Iterable[Document]) -> Iterator[str]:
    for document in documents:
        yield document.text
        if document.text_pair is not None:
            yield document.text_pair
