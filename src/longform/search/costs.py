"""What pretrained encoders would cost here, by a short measurement: decides what is searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import transformers

from longform.backends.choice import tokens_per_second
from longform.backends.torch import TorchBackend
from longform.config import RunConfig
from longform.data.labels import LabelMap
from longform.reporting import Reporter
from longform.text.documents import segment_documents
from longform.text.segmenter import Segmenter
from longform.training.initialization import initialize
from longform.types import Document

_COUNTED_DOCUMENTS = 64
_TUNED_EPOCHS = 3
_TUNED_SEGMENTS = 8
BACKWARD = 3
"""A step forward and back costs about three forward."""
_TUNED_SHARE = 0.25
"""Share of the budget that one fine-tuning may take: fewer than four would be no search."""
_VARIED_SHARE = 0.05
"""Share that encoding all documents once may take, if it is to be done for several settings."""


@dataclass(frozen=True, slots=True)
class EncoderCost:
    """What an encoder costs.

    Attributes:
        encoder: Its folder or name.
        encoding_seconds: To encode all segments of all documents once.
        tuning_seconds: To fine-tune it once with the default settings.
        budget_seconds: Of the whole search; None for no limit.
    """

    encoder: str
    encoding_seconds: float
    tuning_seconds: float
    budget_seconds: float | None

    @property
    def may_be_tuned(self) -> bool:
        """Whether the budget allows trials that fine-tune it."""
        budget = self.budget_seconds
        return budget is None or self.tuning_seconds <= _TUNED_SHARE * budget

    @property
    def may_be_varied(self) -> bool:
        """Whether the budget allows other segments and poolings, each to be encoded anew."""
        budget = self.budget_seconds
        return budget is None or self.encoding_seconds <= _VARIED_SHARE * budget

    def describe(self) -> str:
        """Say what follows, with the figures."""
        text = (
            f"Encoder {self.encoder}: about {self.encoding_seconds:,.0f} s to encode all documents "
            f"once, {self.tuning_seconds:,.0f} s to fine-tune it once."
        )
        if not self.may_be_tuned:
            text += (
                f" Fine-tuning is left out: one would take more than {100 * _TUNED_SHARE:.0f} % "
                "of the budget."
            )
        if not self.may_be_varied:
            text += (
                " Its segments and pooling stay as they are: encoding for each would take more "
                f"than {100 * _VARIED_SHARE:.0f} % of the budget."
            )
        return text


def estimate_cost(
    encoder: str,
    config: RunConfig,
    parts: tuple[Sequence[Document], Sequence[Document]],
    budget_seconds: float | None,
    reporter: Reporter,
) -> EncoderCost:
    """Estimate what an encoder costs from its speed on this machine.

    Args:
        encoder: Folder or name.
        config: The run; its segment length is used.
        parts: Documents to train on, and those to validate on.
        budget_seconds: Of the search.
        reporter: Told what follows.

    Raises:
        InputError: The encoder cannot be loaded.
        ConfigError: It does not fit the configuration.
    """
    train, validation = parts
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    used = config.model_copy(update={"encoder": encoder})
    model, tokenizer = initialize(used, LabelMap.from_documents(train), ())
    length = config.segment_length
    rate = tokens_per_second(TorchBackend(model, threads=torch.get_num_threads()), length)
    sample = train[:: max(1, len(train) // _COUNTED_DOCUMENTS)]
    segmenter = Segmenter(tokenizer, used.segment_settings())
    pairs = config.text_pair_column is not None
    tokens = [
        document.coverage.tokens_used
        for document in segment_documents(segmenter, sample, pairs=pairs)
    ]
    mean = sum(tokens) / len(tokens)
    read = sum(min(count, _TUNED_SEGMENTS * length) for count in tokens) / len(tokens)
    epoch = BACKWARD * len(train) * read + len(validation) * mean
    cost = EncoderCost(
        encoder,
        (len(train) + len(validation)) * mean / rate,
        _TUNED_EPOCHS * epoch / rate,
        budget_seconds,
    )
    reporter.say(cost.describe())
    return cost
