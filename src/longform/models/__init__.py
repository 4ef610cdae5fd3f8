"""The torch modules. Importing this package registers them with the Auto classes."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForSequenceClassification

from longform.models.bert_split_lstm import BERTSplitLSTM
from longform.models.classifier import LongTextClassifier, load_classifier
from longform.models.configuration import LongTextConfig

__all__ = ["BERTSplitLSTM", "LongTextClassifier", "LongTextConfig", "load_classifier"]

AutoConfig.register(LongTextConfig.model_type, LongTextConfig)
AutoModelForSequenceClassification.register(LongTextConfig, LongTextClassifier)
