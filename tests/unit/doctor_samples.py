"""Small corpora with flaws that are known."""

from __future__ import annotations

import random
from dataclasses import replace

from longform.data.readers import ReadResult, documents_from_rows
from longform.types import Document

COMMON = [chr(0x4E00 + 7 * number) for number in range(300)]


def make_documents(count, classes=3, characters=300, seed=0):
    """Documents whose class shows in a few characters of its own."""
    generator = random.Random(seed)
    documents = []
    for index in range(count):
        own = [chr(0x7000 + 40 * (index % classes) + number) for number in range(20)]
        letters = generator.choices(COMMON, k=characters)
        for place in range(0, characters, 12):
            letters[place] = generator.choice(own)
        for place in range(29, characters, 30):
            letters[place] = "。"
        documents.append(Document(f"d{index}", "".join(letters), f"类{index % classes}"))
    return documents


def relabel(documents, places, classes=3):
    """Give some documents the next class."""
    changed = list(documents)
    for place in places:
        number = (int(documents[place].label[1:]) + 1) % classes
        changed[place] = replace(documents[place], label=f"类{number}")
    return changed


def as_result(documents, **options) -> ReadResult:
    rows = [
        {"id": d.id, "text": d.text, "label": d.label if d.labels is None else list(d.labels)}
        for d in documents
    ]
    return documents_from_rows(rows, name="sample.jsonl", **options)
