"""What must stay the same for an interrupted search to go on: its settings, space and documents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from longform.config import RunConfig
from longform.search.space import Space
from longform.types import Document


def search_identity(
    config: RunConfig,
    space: Space | Sequence[str],
    parts: tuple[Sequence[Document], ...],
) -> dict[str, dict[str, Any]]:
    """Return what must be the same for a search to go on.

    Args:
        config: What is the same in all trials.
        space: The user's own, or the encoders that the default space is for.
        parts: Documents to train on, those that choose, and those that judge.
    """
    paths = {"data", "validation", "output_dir", "checkpoint_storage", "parity_documents"}
    return {
        "settings": config.model_dump(mode="json", exclude=paths),
        "space": space.as_dict() if isinstance(space, Space) else {"default for": list(space)},
        "documents": {
            name: digest_documents(documents)
            for name, documents in zip(("train", "validation", "test"), parts, strict=True)
        },
    }


def digest_documents(documents: Iterable[Document]) -> str:
    """Return the SHA-256 of the texts and labels of documents, in their order."""
    content = hashlib.sha256()
    for document in documents:
        fields = (document.text, document.text_pair, document.label, document.labels)
        content.update(repr(fields).encode("utf-8", "replace"))
    return content.hexdigest()
