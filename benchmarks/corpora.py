"""The corpora that models are judged on, and the views of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from longform.config import DataSettings
from longform.data.readers import read_documents
from longform.types import Document


@dataclass(frozen=True, slots=True)
class Corpus:
    """Where a corpus lies and how it is judged.

    Attributes:
        train: File of the training documents, or of all documents.
        tests: Files that judge; without any, documents are cross-validated.
        analyzer: What the linear classifier counts: words, or characters.
        group: Column whose equal values are held out together.
        header: Column that is put before the text.
        cleaned: As Park et al., "Efficient Classification of Long Documents Using Transformers"
            (2022), have it: every token that holds ':' or '@' is dropped, and a tenth of the
            training documents is left out.
    """

    train: str
    tests: tuple[str, ...] = ()
    analyzer: str = "char"
    group: str | None = None
    header: str | None = None
    cleaned: bool = False


CORPORA = {
    "iflytek": Corpus("iflytek/train.jsonl.gz", ("iflytek/dev.jsonl.gz", "iflytek/test.jsonl.gz")),
    "hyperpartisan": Corpus("hyperpartisan/articles.jsonl", analyzer="word"),
    "newsgroups": Corpus("newsgroups/train.jsonl.gz", ("newsgroups/test.jsonl.gz",), "word"),
    "newsgroups-park": Corpus(
        "newsgroups/train.jsonl.gz",
        ("newsgroups/test.jsonl.gz",),
        "word",
        header="header",
        cleaned=True,
    ),
    "laws": Corpus("laws/province_masked.jsonl.gz", group="group"),
    "fudan": Corpus("fudan/train.jsonl.gz", ("fudan/dev.jsonl.gz",)),
}


def read_part(path: Path, corpus: Corpus) -> Sequence[Document]:
    """Read a file of a corpus as it is to be judged."""
    settings = DataSettings(group_column=corpus.group)
    documents = read_documents(path, settings).documents
    if corpus.header is None:
        return documents
    headers = read_documents(path, DataSettings(text_column=corpus.header)).documents
    heads = {item.id: item.text for item in headers}
    joined = [replace(item, text=f"{heads[item.id]}\n\n{item.text}") for item in documents]
    if not corpus.cleaned:
        return joined
    return [
        replace(
            item,
            text=" ".join(
                token for token in item.text.split() if ":" not in token and "@" not in token
            ),
        )
        for item in joined
    ]


VIEWS: dict[str, Callable[[str], str]] = {
    "whole": lambda text: text,
    "head-512": lambda text: text[:512],
    "body-only": lambda text: text[1_000:] if len(text) > 2_000 else text[-1_000:],
    "mid-512": lambda text: text[1_000:1_512] if len(text) > 1_512 else text[-512:],
}
"""What is read of a text without its white space: journals give a class away at the head."""


def view_documents(documents: Sequence[Document], view: str) -> Sequence[Document]:
    """Leave of every text what a view shows."""
    cut = VIEWS[view]
    return [replace(item, text=cut(re.sub(r"\s+", "", item.text))) for item in documents]
