"""Which segment length? Heads trained on the frozen encoder for each, with what each costs.

The length belongs to the trained model, so it is chosen before the run, on a part of the training
documents. The frozen encoder stands for the trained one: it takes minutes, not hours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longform.backends.base import Backend
from longform.backends.choice import tokens_per_second
from longform.config import (
    SCRATCH_ENCODERS,
    DataSettings,
    ModelSettings,
    RunConfig,
    SegmentSettings,
)
from longform.data.splits import Split, stratified_split
from longform.errors import ConfigError, InputError
from longform.evaluation.work import work_of
from longform.models import LongTextClassifier
from longform.models.pretrained import usable_positions
from longform.reporting import Reporter
from longform.text.documents import segment_documents
from longform.text.segmenter import Segmenter
from longform.training.fit import TrainedModel, fit
from longform.training.run import OpenEncoder
from longform.types import Document

_DOCUMENTS = 400
_HELD_OUT = 0.3
_READING = {
    *SegmentSettings.model_fields,
    *ModelSettings.model_fields,
    *DataSettings.model_fields,
}


@dataclass(frozen=True, slots=True)
class LengthTrial:
    """What a segment length costs and scores.

    Attributes:
        segment_length: Tokens, special ones included.
        segments_per_document: Mean.
        gflops_per_document: Operations of the encoder on a mean document.
        tokens_per_second: Of the encoder on this machine.
        accuracy: Of the head on documents that it was not trained on.
        macro_f1: The same.
        judged: How many documents these are.
    """

    segment_length: int
    segments_per_document: float
    gflops_per_document: float
    tokens_per_second: float
    accuracy: float
    macro_f1: float
    judged: int

    @property
    def standard_error(self) -> float:
        """Standard error of the accuracy."""
        return float((self.accuracy * (1.0 - self.accuracy) / self.judged) ** 0.5)


def choose_length(trials: Sequence[LengthTrial]) -> LengthTrial:
    """Return the cheapest whose accuracy is within one standard error of the best.

    Cost is counted in operations, not in seconds, so that the same documents give the same answer.
    """
    best = max(trials, key=lambda trial: trial.accuracy)
    least = best.accuracy - best.standard_error
    good = [trial for trial in trials if trial.accuracy >= least]
    return min(good, key=lambda trial: trial.gflops_per_document)


def propose_length(
    config: RunConfig,
    documents: Sequence[Document],
    reporter: Reporter,
    open_encoder: OpenEncoder | None,
) -> tuple[RunConfig, list[dict[str, Any]]]:
    """Try the lengths of `try_segment_lengths` and return the run with the one that was chosen.

    Args:
        config: The run.
        documents: Its training documents; validation documents have no part in it.
        reporter: Told the table and the choice.
        open_encoder: Opens the frozen encoder.

    Returns:
        The run with its segment length, and the table for the summary.

    Raises:
        ConfigError: There is no pretrained encoder, or it reads none of the lengths.
    """
    if config.encoder in SCRATCH_ENCODERS:
        raise ConfigError(
            "try_segment_lengths needs a pretrained encoder: its frozen vectors are what is tried.",
            found=f"encoder '{config.encoder}'",
            fix="Leave try_segment_lengths out, or set segment_length by hand.",
        )
    sample = _sample(documents, config.seed)
    trials: list[LengthTrial] = []
    for length in config.try_segment_lengths:
        reporter.say(f"Trying segments of {length} tokens on {len(sample.train)} documents.")
        trial = _try(config, length, sample, open_encoder)
        if trial is None:
            reporter.say(f"  {length} is longer than the encoder reads: left out.")
            continue
        trials.append(trial)
        reporter.say(_line(trial))
    if not trials:
        raise ConfigError(
            "One of try_segment_lengths must fit the encoder.",
            found=", ".join(map(str, config.try_segment_lengths)),
            fix="Give shorter ones.",
        )
    chosen = choose_length(trials)
    reporter.say(
        f"Segments of {chosen.segment_length} tokens: the cheapest within one standard error of "
        "the best accuracy. Set segment_length to decide otherwise."
    )
    decided = config.model_copy(update={"segment_length": chosen.segment_length})
    return decided, [asdict(trial) for trial in trials]


def _sample(documents: Sequence[Document], seed: int) -> Split:
    """Take a part of the documents, every class in it, and hold out a part of that."""
    chosen = documents
    if len(documents) > _DOCUMENTS:
        chosen = stratified_split(documents, _DOCUMENTS / len(documents), seed).validation
    return stratified_split(chosen, _HELD_OUT, seed)


def _try(
    config: RunConfig, length: int, sample: Split, open_encoder: OpenEncoder | None
) -> LengthTrial | None:
    # Of the run, what it reads and what reads it; it is trained as a frozen run is by default.
    kept = config.model_dump(include={*_READING, "seed", "device"})
    changes = {"segment_length": length, "frozen": True, "lora": False, "report_to": ()}
    tried = RunConfig.model_validate({**kept, **changes})
    opened: list[Backend] = []

    def keep(model: LongTextClassifier, digest: str, precision: str) -> Backend:
        assert open_encoder is not None
        opened.append(open_encoder(model, digest, precision))
        return opened[0]

    with tempfile.TemporaryDirectory() as folder:
        try:
            trained = fit(
                tried,
                sample.train,
                sample.validation,
                Path(folder),
                None,
                keep if open_encoder is not None else None,
            )
        except InputError:
            return None
    if length > (usable_positions(trained.model.encoder.model) or length):
        return None
    return _measure(trained, length, sample, opened)


def _measure(
    trained: TrainedModel, length: int, sample: Split, opened: Sequence[Backend]
) -> LengthTrial:
    segmenter = Segmenter(trained.tokenizer, trained.config.segment_settings())
    documents = [*sample.train, *sample.validation]
    pairs = trained.config.text_pair_column is not None
    lengths = [
        len(segment.token_ids)
        for document in segment_documents(segmenter, documents, pairs=pairs)
        for segment in document.segments
    ]
    shapes = {name: tuple(p.shape) for name, p in trained.model.named_parameters()}
    work = work_of(shapes, trained.model.config.encoder_config or {})
    return LengthTrial(
        segment_length=length,
        segments_per_document=round(len(lengths) / len(documents), 2),
        gflops_per_document=round(work.flops(lengths) / len(documents) / 1e9, 3),
        tokens_per_second=round(tokens_per_second(opened[0], length)) if opened else 0.0,
        accuracy=trained.metrics["accuracy"],
        macro_f1=trained.metrics["macro_f1"],
        judged=len(sample.validation),
    )


def _line(trial: LengthTrial) -> str:
    return (
        f"  {trial.segment_length} tokens: {trial.segments_per_document:.1f} segments a document, "
        f"{trial.gflops_per_document:.1f} GFLOP, {trial.tokens_per_second:,.0f} tokens/s; accuracy "
        f"{100 * trial.accuracy:.1f} +- {100 * trial.standard_error:.1f}, macro-F1 "
        f"{100 * trial.macro_f1:.1f}"
    )
