"""The torch modules. Importing this package registers them with the Auto classes."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForSequenceClassification

from longform.models.classifier import LongTextClassifier
from longform.models.configuration import LongTextConfig

__all__ = ["LongTextClassifier", "LongTextConfig"]

AutoConfig.register(LongTextConfig.model_type, LongTextConfig)
AutoModelForSequenceClassification.register(LongTextConfig, LongTextClassifier)
