"""Texts to learn from without labels: read from several files, held-out documents kept out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from longform.config import DataSettings
from longform.data.duplicates import find_duplicates, find_leaks
from longform.data.readers import read_documents
from longform.errors import InputError
from longform.reporting import Reporter, counted
from longform.types import Document


@dataclass(frozen=True, slots=True)
class UnlabelledTexts:
    """Documents without labels.

    Attributes:
        train: To learn from. No (near-)copy of a document that must not be learnt is in it.
        validation: To judge on.
        account: What was read and what became of it, in counts.
    """

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    account: dict[str, int]


def read_texts(
    paths: Sequence[Path], settings: DataSettings, reporter: Reporter
) -> tuple[Document, ...]:
    """Read the documents of several files; labels that are there are not read.

    Raises:
        InputError: A file cannot be read or holds no document.
        MissingExtraError: The library that reads a format is not installed.
    """
    documents: list[Document] = []
    for path in paths:
        result = read_documents(path, settings, labelled=False)
        reporter.say(result.report.summary())
        names = (f"{path.name}:{document.id}" for document in result.documents)
        # Files number their rows alike.
        documents += [
            replace(document, id=name)
            for document, name in zip(result.documents, names, strict=True)
        ]
    return tuple(documents)


def gather_texts(
    data: Sequence[Path],
    validation: Path | None,
    exclude: Sequence[Path],
    settings: DataSettings,
    reporter: Reporter,
    **split: Any,
) -> UnlabelledTexts:
    """Read texts to learn from, and keep those that will be judged on out of them.

    Args:
        data: Files of texts.
        validation: Texts to judge on; None holds a share of the documents out.
        exclude: Files whose documents, and near-copies of them, must not be learnt, such as the
            validation and test files of the task to come.
        settings: Columns and encoding; near-copies are looked for unless `near_duplicates` is
            `ignore`.
        reporter: Told what was read and left out.
        **split: `fraction` and `seed` of the share to hold out.

    Raises:
        InputError: A file cannot be read, or no document is left to learn from or to judge on.
        MissingExtraError: A library is missing that a format or the search for copies needs.
    """
    documents = read_texts(data, settings, reporter)
    account = {"documents": len(documents)}
    near = settings.near_duplicates == "together"
    duplicates = find_duplicates(documents, reporter, near=near)
    repeats = {index for group in duplicates.exact for index in group[1:]}
    account["repeated"] = len(repeats)
    if repeats:
        reporter.say(f"{counted(len(repeats), 'document')} left out that repeat an earlier one.")
    clusters = duplicates.cluster_ids.tolist()
    kept = [index for index in range(len(documents)) if index not in repeats]
    banned = read_texts(exclude, settings, reporter)
    kept = _keep_out(kept, documents, banned, "excluded", near, reporter)
    account["excluded"] = len(documents) - len(repeats) - len(kept)
    if validation is not None:
        judged = read_texts([validation], settings, reporter)
        before = len(kept)
        kept = _keep_out(kept, documents, judged, "validation", near, reporter)
        account["in_validation"] = before - len(kept)
    else:
        held = _hold_out([clusters[index] for index in kept], **split)
        judged = tuple(documents[index] for index in kept if clusters[index] in held)
        kept = [index for index in kept if clusters[index] not in held]
    _require_both(len(kept), len(judged), len(documents))
    account |= {"train": len(kept), "validation": len(judged)}
    return UnlabelledTexts(tuple(documents[index] for index in kept), judged, account)


def _keep_out(
    kept: list[int],
    documents: Sequence[Document],
    others: Sequence[Document],
    what: str,
    near: bool,
    reporter: Reporter,
) -> list[int]:
    if not others or not kept:
        return kept
    leaks = find_leaks([documents[index] for index in kept], others, reporter, near=near)
    for note in leaks.notes:
        reporter.say(note)
    found = set(leaks.train)
    if found:
        examples = ", ".join(documents[kept[place]].id for place in sorted(found)[:3])
        reporter.say(
            f"{counted(len(found), 'document')} left out that stand in the {what} documents, "
            f"word for word or nearly: {examples}{' ...' if len(found) > 3 else ''}."
        )
    return [index for place, index in enumerate(kept) if place not in found]


def _hold_out(clusters: Sequence[int], fraction: float, seed: int) -> set[int]:
    """Draw whole clusters of near-copies until they have the share of the documents, at least one.

    The largest cluster is never drawn: a corpus made from one template is learnt from.
    """
    names, sizes = np.unique(np.array(clusters, dtype=np.int64), return_counts=True)
    if len(names) < 2:
        return set()
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[order != int(sizes.argmax())]
    before = np.cumsum(sizes[order]) - sizes[order]
    return set(names[order[before < max(1.0, fraction * len(clusters))]].tolist())


def _require_both(train: int, validation: int, read: int) -> None:
    if not train or not validation:
        raise InputError(
            "Texts must be left to learn from and to measure the loss on.",
            found=f"{counted(read, 'document')} read, {train:,} left to learn from and "
            f"{validation:,} to measure on",
            fix="Give more documents with --data, or a file of others with --validation.",
        )
