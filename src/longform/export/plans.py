"""The shapes that a model is compiled for, planned from documents like those it will read."""

from __future__ import annotations

from collections.abc import Sequence

from longform.models import LongTextClassifier
from longform.shapes import ShapePlan, plan_shapes
from longform.text.documents import segment_documents
from longform.text.segmenter import Segmenter
from longform.types import Document

_DOCUMENTS = 500
"""Enough for a histogram of segment lengths that more documents would not change."""


def plan_documents(
    model: LongTextClassifier, segmenter: Segmenter, documents: Sequence[Document], *, pairs: bool
) -> ShapePlan:
    """Plan the shapes for documents.

    Args:
        model: Whose encoder reads them.
        segmenter: The one it was trained with.
        documents: Typical ones; of many, some are read.
        pairs: Whether the model judges two texts together.
    """
    sample = documents[:: max(1, len(documents) // _DOCUMENTS)]
    lengths = [
        len(segment.token_ids)
        for document in segment_documents(segmenter, sample, pairs=pairs)
        for segment in document.segments
    ]
    longest = segmenter.settings.segment_length
    return plan_shapes(lengths, longest, attention_length=6.0 * model.config.vector_size)
