"""Files and texts as padded tensors, for training loops of one's own.

`longform train` needs none of this: it batches segments of any number without padding them to one
length. The names are those that users of other toolkits know.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from longform.config import RunConfig, SegmentSettings
from longform.data.labels import LabelMap
from longform.data.preparation import prepare_data
from longform.errors import InputError
from longform.reporting import Reporter
from longform.text.documents import segment_documents
from longform.text.segmenter import Segmenter
from longform.text.tokenization import TextTokenizer
from longform.text.vocabulary import train_tokenizer
from longform.training.encoder_loading import load_tokenizer
from longform.types import Document, SegmentedDocument, Targets

Padding = Literal["max_length", "longest"]


class PaddedDataset(Dataset[dict[str, Tensor]]):
    """Documents as tensors of one width.

    Each item has `input_ids` and `attention_mask`, int64 `[segments, tokens]`; `segment_mask`,
    int64 `[segments]`, all ones until documents are stacked; `labels`, int64 `[]` or float32
    `[classes]`; and `row_id`, int64 `[]`, the document's place.

    Args:
        documents: The segmented documents.
        labels: As `LabelMap.targets` gives them.
        pad_id: Fills the padding.
        width: Tokens of a row; None pads each document to its own longest segment.
    """

    def __init__(
        self,
        documents: Sequence[SegmentedDocument],
        labels: Targets,
        pad_id: int,
        width: int | None,
    ) -> None:
        self.documents = documents
        self.labels = labels
        self._pad_id = pad_id
        self._width = width

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        encoded = _pad(self.documents[index], self._pad_id, self._width)
        label = self.labels[index]
        several = self.labels.dtype == np.bool_
        return {
            **encoded,
            "segment_mask": torch.ones(len(encoded["input_ids"]), dtype=torch.int64),
            "labels": torch.as_tensor(label, dtype=torch.float32 if several else torch.int64),
            "row_id": torch.tensor(index),
        }


class HappyDataProcessor:
    """A file of labelled documents to datasets of tensors.

    Args:
        task: `text_classification`, the only one.
        max_length: Tokens of a segment, special tokens included. A longer document gets more
            segments: nothing is cut off.
        padding_strategy: `max_length` pads each segment to `max_length`, `longest` to the longest
            of its document.
        tokenizer: Folder or name of a Hugging Face tokenizer; None trains one on the documents.
        **settings: Keys of the configuration, such as `label_separator` or `validation_split`.

    Raises:
        InputError: The task or the tokenizer is not known.
    """

    def __init__(
        self,
        task: str = "text_classification",
        max_length: int = 128,
        padding_strategy: Padding = "max_length",
        tokenizer: str | None = None,
        **settings: Any,
    ) -> None:
        if task != "text_classification" or padding_strategy not in ("max_length", "longest"):
            raise InputError(
                "The task is text_classification, and padding_strategy max_length or longest.",
                found=f"task '{task}', padding_strategy '{padding_strategy}'",
                fix="Correct the arguments.",
            )
        self.config = RunConfig(segment_length=max_length, **settings)
        self.padding_strategy = padding_strategy
        self.tokenizer = None if tokenizer is None else load_tokenizer(tokenizer)
        self.labels: LabelMap | None = None

    def load_dataset(
        self, path: str | Path, reporter: Reporter | None = None
    ) -> dict[str, PaddedDataset]:
        """Read a file and hold a part of it out.

        Returns:
            `train` and `eval`. `labels` and `tokenizer` are then those of the file.

        Raises:
            InputError: The file cannot be read, or its documents cannot be trained on.
        """
        prepared = prepare_data(Path(path), self.config, reporter or Reporter())
        if self.tokenizer is None:
            texts = (document.text for document in prepared.train)
            self.tokenizer = train_tokenizer(texts, self.config.vocabulary_size)
        self.labels = LabelMap.from_documents(prepared.train)
        parts = {"train": prepared.train, "eval": prepared.validation}
        return {name: self._encode(part, self.labels) for name, part in parts.items()}

    def _encode(self, documents: Sequence[Document], labels: LabelMap) -> PaddedDataset:
        assert self.tokenizer is not None
        segmenter = Segmenter(self.tokenizer, self.config.segment_settings())
        pairs = self.config.text_pair_column is not None
        return PaddedDataset(
            list(segment_documents(segmenter, documents, pairs=pairs)),
            labels.targets(documents),
            self.tokenizer.pad_id,
            self.config.segment_length if self.padding_strategy == "max_length" else None,
        )


def encode_texts(
    texts: Sequence[str], max_len: int = 512, tokenizer: str | TextTokenizer = "bert-base-chinese"
) -> list[dict[str, Tensor]]:
    """Encode texts of any length, losing no token.

    Args:
        texts: The texts.
        max_len: Tokens of a segment, special tokens included.
        tokenizer: A tokenizer, or the folder or name of a Hugging Face one.

    Returns:
        For each text `input_ids` and `attention_mask`, int64 `[segments, max_len]`, as many
        segments as the text needs; none for a text without tokens.

    Raises:
        InputError: The tokenizer cannot be loaded.
        ConfigError: `max_len` leaves no room for text.
    """
    loaded = tokenizer if isinstance(tokenizer, TextTokenizer) else load_tokenizer(tokenizer)
    segmenter = Segmenter(loaded, SegmentSettings(segment_length=max_len))
    return [_pad(item, loaded.pad_id, max_len) for item in segmenter.iterate(list(texts))]


def _pad(document: SegmentedDocument, pad_id: int, width: int | None) -> dict[str, Tensor]:
    rows = [segment.token_ids for segment in document.segments]
    width = width or max((len(row) for row in rows), default=0)
    input_ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for place, row in enumerate(rows):
        input_ids[place, : len(row)] = torch.from_numpy(row)
        attention_mask[place, : len(row)] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}
