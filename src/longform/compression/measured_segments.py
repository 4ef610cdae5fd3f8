"""The segments that the importance of heads is measured on, in padded batches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longform.compression.heads import LabelledSegments
from longform.config import DataSettings
from longform.data.readers import DocumentReader
from longform.errors import InputError
from longform.text.segmenter import Segmenter
from longform.types import Document

_SEGMENTS_PER_DOCUMENT = 4
"""Segments whose gradients are taken, spread evenly over a document."""
_ROWS = 16


def read_batches(
    segmenter: Segmenter, data: Path, columns: DataSettings, most: int
) -> tuple[list[LabelledSegments], int]:
    """Return segments of the first documents, and the number of classes, 0 without labels.

    Args:
        segmenter: Of the encoder.
        data: File of documents.
        columns: How it is read.
        most: How many documents are read.

    Raises:
        InputError: The file cannot be read.
    """
    documents = _read(data, columns, most)
    names = sorted({str(document.label) for document in documents if document.label is not None})
    numbers = {name: number for number, name in enumerate(names)}
    labelled = len(names) > 1
    rows: list[tuple[np.ndarray[Any, Any], int]] = []
    for document, segmented in zip(
        documents, segmenter.iterate([document.text for document in documents]), strict=True
    ):
        places = np.linspace(0, len(segmented.segments) - 1, _SEGMENTS_PER_DOCUMENT)
        number = numbers[str(document.label)] if labelled else 0
        rows += [
            (segmented.segments[place].token_ids, number)
            for place in sorted({round(place) for place in places})
            if segmented.segments
        ]
    rows.sort(key=lambda row: len(row[0]))
    batches = [
        _pad(rows[start : start + _ROWS], segmenter.tokenizer.pad_id, labelled)
        for start in range(0, len(rows), _ROWS)
    ]
    return batches, len(names) if labelled else 0


def _read(data: Path, columns: DataSettings, most: int) -> list[Document]:
    """Read the first documents, with labels where the file has them."""
    try:
        return list(itertools.islice(DocumentReader(data, columns), most))
    except InputError:
        # A file without labels will do; one that cannot be read at all says so again.
        return list(itertools.islice(DocumentReader(data, columns, labelled=False), most))


def _pad(
    rows: Sequence[tuple[np.ndarray[Any, Any], int]], pad_id: int, labelled: bool
) -> LabelledSegments:
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, (tokens, _) in enumerate(rows):
        ids[row, : len(tokens)] = torch.from_numpy(np.asarray(tokens, dtype=np.int64))
        mask[row, : len(tokens)] = 1
    classes = torch.tensor([number for _, number in rows]) if labelled else None
    return LabelledSegments(ids, mask, classes)
