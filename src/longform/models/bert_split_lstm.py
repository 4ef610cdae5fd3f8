"""`BERTSplitLSTM`: the classic of long documents by its name, as one setting of the five knobs."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, AutoModel

from longform.models.classifier import LongTextClassifier
from longform.models.configuration import LongTextConfig
from longform.models.pretrained import own_settings, pooler_arguments, usable_positions

_USUAL_LENGTH = 512


class BERTSplitLSTM(LongTextClassifier):
    """BERT reads each segment, a bidirectional LSTM reads their `[CLS]` vectors in order.

    The same as `longform train --set preset=bert_split_lstm`. Logits are given, not probabilities;
    what is saved loads as a `LongTextClassifier`, also through `from_pretrained` of this class.

    Args:
        bert_model_name: A folder, or a name in the local Hugging Face cache; or a configuration,
            which builds the model without weights.
        lstm_hidden: Width of each direction.
        num_classes: Labels.
        **kwargs: Other fields of `LongTextConfig`, such as `lstm_bidirectional`, `id2label` or
            `segment_length` (of itself what the encoder takes, at most 512).
    """

    def __init__(
        self,
        bert_model_name: str | LongTextConfig = "bert-base-chinese",
        lstm_hidden: int = 256,
        num_classes: int = 10,
        **kwargs: Any,
    ) -> None:
        if isinstance(bert_model_name, LongTextConfig):
            super().__init__(bert_model_name)
            return
        kind = AutoConfig.from_pretrained(bert_model_name).model_type
        encoder = AutoModel.from_pretrained(
            bert_model_name, dtype="float32", **pooler_arguments(kind)
        )
        labels = {} if "id2label" in kwargs else {"num_labels": num_classes}
        settings = {
            "encoder": kind,
            "encoder_config": own_settings(encoder.config),
            "token_pooling": "cls",
            "aggregator": "lstm",
            "aggregator_hidden": lstm_hidden,
            "segment_length": min(_USUAL_LENGTH, usable_positions(encoder) or _USUAL_LENGTH),
            "problem_type": "single_label_classification",
        }
        super().__init__(LongTextConfig(**{**settings, **labels, **kwargs}), encoder)
