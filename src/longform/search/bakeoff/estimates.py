"""How long a contender's first split will take, before it begins: by speed and by what is kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from longform.backends.base import Backend
from longform.backends.choice import tokens_per_second
from longform.backends.torch import TorchBackend
from longform.config import LINEAR, RunConfig
from longform.data.labels import LabelMap
from longform.export.encoders import EncoderExports, fastest_encoder
from longform.models import LongTextClassifier
from longform.reporting import Reporter
from longform.search.costs import BACKWARD
from longform.text.documents import segment_documents
from longform.text.segmenter import Segmenter
from longform.training.arguments import RECIPES, kind_of_training, trains_pretrained
from longform.training.devices import pick_device
from longform.training.initialization import initialize, weights_digest
from longform.training.rows import content_digest
from longform.training.run import SEGMENTS_PER_STEP
from longform.training.vectors import open_vectors
from longform.types import Document, SegmentedDocument

_SAMPLE = 64


class Estimator:
    """Estimates the seconds of a split; what was measured of an encoder once holds for its kin.

    For an encoder that is trained: the tokens of a step, forward and back, at the speed of a short
    measurement, for all epochs. For a frozen one: the segments whose vectors are not kept from
    earlier. Both from a sample of documents; the head's own training is not counted.

    Args:
        documents: All that are compared on.
        work: For files in between.
    """

    def __init__(self, documents: Sequence[Document], work: Path) -> None:
        self._documents = documents
        self._work = work
        self._rates: dict[tuple[str, int, bool], float] = {}

    def seconds(self, config: RunConfig) -> float | None:
        """Estimate for a contender's configuration.

        Returns:
            None for a linear model: it takes less time than a measurement.

        Raises:
            InputError: The encoder cannot be loaded.
        """
        if config.encoder == LINEAR:
            return None
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        documents = self._documents
        sample = documents[:: max(1, len(documents) // _SAMPLE)]
        texts = [document.text for document in sample]
        model, tokenizer = initialize(config, LabelMap.from_documents(documents), texts)
        segmenter = Segmenter(tokenizer, config.segment_settings())
        pairs = config.text_pair_column is not None
        started = time.perf_counter()
        segmented = list(segment_documents(segmenter, sample, pairs=pairs))
        cutting = time.perf_counter() - started
        work = self._frozen if config.frozen else self._trained
        return len(documents) / len(sample) * (cutting + work(config, model, segmented))

    def _trained(
        self, config: RunConfig, model: LongTextClassifier, segmented: Sequence[SegmentedDocument]
    ) -> float:
        """Return the seconds to train on a sample, and to judge as much."""
        backend = TorchBackend(model, threads=torch.get_num_threads())
        most = config.max_train_segments
        if most is None and trains_pretrained(config):
            most = SEGMENTS_PER_STEP
        tokens = sum(len(item.token_ids) for one in segmented for item in one.segments[:most])
        recipe = RECIPES[kind_of_training(config)]
        epochs = config.num_train_epochs if config.num_train_epochs is not None else recipe.epochs
        return (epochs * BACKWARD + 1) * tokens / self._rate(config, backend)

    def _frozen(
        self, config: RunConfig, model: LongTextClassifier, segmented: Sequence[SegmentedDocument]
    ) -> float:
        """Return the seconds to encode the segments of a sample that are in no store."""
        digest = weights_digest(model.encoder)
        precision = "bf16" if pick_device(Reporter(), config.device).bf16 else "fp32"
        exports = EncoderExports(model, digest, self._work)
        backend = fastest_encoder(model, exports, precision, Reporter())
        with open_vectors(model, digest, backend) as store:
            tokens = sum(
                len(segment.token_ids)
                for document in segmented
                for segment in document.segments
                if content_digest(segment.token_ids.tobytes()) not in store
            )
        return tokens / self._rate(config, backend) if tokens else 0.0

    def _rate(self, config: RunConfig, backend: Backend) -> float:
        """Return the tokens a second of an encoder, measured once for a length."""
        key = (config.encoder, config.segment_length, config.frozen)
        if key not in self._rates:
            self._rates[key] = tokens_per_second(backend, config.segment_length)
        return self._rates[key]
