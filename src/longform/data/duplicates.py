"""Documents that repeat each other, word for word or nearly, within one set or across two.

Near-copies have a Jaccard similarity of their shingles of at least `JACCARD`, or the longer one
contains at least `CONTAINMENT` of the shorter one's. Candidates come from signatures
(`data/sketches.py`); each is verified on all of its shingles, so that nothing is reported that is
not so. A copy of like length is found practically always, a short text quoted in one several times
as long usually.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from longform.data.shingles import Hashes, distinct, fold, hash_shingles
from longform.data.sketches import (
    CONTAINMENT,
    JACCARD,
    Sketches,
    find_candidates,
    sketch_documents,
)
from longform.reporting import Reporter
from longform.types import Document, Integers

_LARGEST_SHARE = 0.1
"""Share of the documents above which a cluster is a chain of likenesses or the work of a template,
not copies of one text."""
_LARGEST_CLUSTER = 50
"""Documents that a cluster may have in any case."""
_STRICTER = (0.4, 0.6, 0.8, 1.0)
"""Jaccard similarities asked for, one after the other, in a cluster that is too large."""
_CACHED_DOCUMENTS = 512


@dataclass(frozen=True, slots=True)
class Match:
    """Two documents with one text, or nearly.

    Attributes:
        first: Index of a document; in leaks, of one for training.
        second: Index of another; in leaks, of one of the other set.
        similarity: Jaccard similarity of their shingles, 0 to 1.
        containment: Share of the shingles of the shorter one that the longer one has, 0 to 1.
        exact: The texts are equal as given, not only but for white space, case and width.
    """

    first: int
    second: int
    similarity: float
    containment: float
    exact: bool


@dataclass(frozen=True)
class Duplicates:
    """What repeats within one set of documents.

    Attributes:
        documents: Size of the set.
        exact: Groups of two or more documents with equal texts, each in ascending order.
        near: Verified pairs of near-copies. Equal texts count once, by their first document; of a
            document with very many near-copies, the nearest.
        clusters: Groups of two or more documents that are joined by equal texts or near pairs, each
            in ascending order, the largest first.
        notes: What the user should know.
    """

    documents: int
    exact: tuple[tuple[int, ...], ...]
    near: tuple[Match, ...]
    clusters: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def cluster_ids(self) -> Integers:
        """Index of the first document of each document's cluster, int64 `[documents]`."""
        ids = np.arange(self.documents, dtype=np.int64)
        for cluster in self.clusters:
            ids[list(cluster)] = cluster[0]
        return ids


@dataclass(frozen=True)
class Leaks:
    """What stands in two sets of documents that should have nothing in common.

    Attributes:
        matches: Verified pairs; every document that leaks is in at least one.
        notes: What the user should know.
    """

    matches: tuple[Match, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def train(self) -> tuple[int, ...]:
        """Indices of the training documents that stand in the other set, ascending."""
        return tuple(sorted({match.first for match in self.matches}))

    @cached_property
    def other(self) -> tuple[int, ...]:
        """Indices of the documents of the other set that stand in training, ascending."""
        return tuple(sorted({match.second for match in self.matches}))


def first_of_each_text(
    documents: Iterable[Document], known: Iterable[Document] = ()
) -> list[Document]:
    """Return the documents whose text none before them has, in their order.

    Args:
        documents: The documents.
        known: Others, whose texts count as having come before.
    """
    seen = {(item.text, item.text_pair) for item in known}
    kept = []
    for document in documents:
        texts = (document.text, document.text_pair)
        if texts not in seen:
            seen.add(texts)
            kept.append(document)
    return kept


def find_duplicates(
    documents: Sequence[Document] | Sketches,
    reporter: Reporter | None = None,
    *,
    near: bool = True,
) -> Duplicates:
    """Find what repeats within a set of documents.

    Args:
        documents: Or their sketches, where they serve for `find_leaks` too.
        reporter: Told about progress.
        near: Look for near-copies too, not for equal texts only. Not used for sketches.

    Raises:
        MissingExtraError: Near-copies are asked for and datasketch is not installed.
    """
    sketches = _sketch(documents, reporter, near)
    matches = [
        Match(int(sketches.firsts[form]), int(text), 1.0, 1.0, exact=False)
        for text, form in _texts_beside_the_first(sketches)
    ]
    matches += _verify(sketches, sketches, find_candidates(sketches))
    count = len(sketches.documents)
    matches, notes = _untangle(matches, count, offset=0)
    same = [(int(text), index) for index, text in enumerate(sketches.texts) if text != index]
    groups = join(count, same)
    clusters = join(count, [*same, *((match.first, match.second) for match in matches)])
    return Duplicates(
        documents=count,
        exact=_largest_first(groups),
        near=tuple(matches),
        clusters=_largest_first(clusters),
        notes=notes,
    )


def find_leaks(
    train: Sequence[Document] | Sketches,
    other: Sequence[Document] | Sketches,
    reporter: Reporter | None = None,
    *,
    near: bool = True,
) -> Leaks:
    """Find the documents of one set that stand, word for word or nearly, in another.

    Args:
        train: Documents for training, or their sketches.
        other: Documents for validation or test, or their sketches.
        reporter: Told about progress.
        near: As in `find_duplicates`.

    Raises:
        MissingExtraError: Near-copies are asked for and datasketch is not installed.
    """
    left, right = _sketch(train, reporter, near), _sketch(other, reporter, near)
    form_of_digest = {digest: form for form, digest in enumerate(right.digests)}
    found = [
        Match(int(left.firsts[form]), int(right.firsts[twin]), 1.0, 1.0, exact=False)
        for form, digest in enumerate(left.digests)
        if (twin := form_of_digest.get(digest)) is not None
    ]
    found += _verify(left, right, find_candidates(left, right))
    kept, notes = _untangle(found, len(left.documents), len(right.documents))
    return Leaks(tuple(_spread(kept, left, right)), notes)


def join(count: int, pairs: Iterable[tuple[int, int]]) -> Integers:
    """Return for each of `count` items the first item that pairs join it with, int64 `[count]`."""
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return np.array([root(item) for item in range(count)], dtype=np.int64)


def _sketch(
    documents: Sequence[Document] | Sketches, reporter: Reporter | None, near: bool
) -> Sketches:
    if isinstance(documents, Sketches):
        return documents
    return sketch_documents(documents, reporter, near=near)


def _texts_beside_the_first(sketches: Sketches) -> list[tuple[int, int]]:
    """Return text and form of the texts that share their form with another, earlier text."""
    return [
        (int(text), int(sketches.forms[text]))
        for text in np.unique(sketches.texts)
        if sketches.firsts[sketches.forms[text]] != text
    ]


def _verify(left: Sketches, right: Sketches, candidates: Integers) -> list[Match]:
    """Keep the candidates, `[pairs, 2]` forms, that are near-copies by all of their shingles."""

    def shingles(side: Sketches, form: int) -> Hashes:
        return distinct(hash_shingles(fold(side.documents[side.firsts[form]])))

    @lru_cache(_CACHED_DOCUMENTS)
    def of_left(form: int) -> Hashes:
        return shingles(left, form)

    @lru_cache(_CACHED_DOCUMENTS)
    def of_right(form: int) -> Hashes:
        return shingles(right, form)

    matches = []
    for first, second in candidates.tolist():
        a, b = of_left(first), of_left(second) if right is left else of_right(second)
        common = len(np.intersect1d(a, b, assume_unique=True))
        similarity = common / (len(a) + len(b) - common)
        containment = common / min(len(a), len(b))
        if similarity >= JACCARD or containment >= CONTAINMENT:
            places = int(left.firsts[first]), int(right.firsts[second])
            matches.append(Match(*places, similarity, containment, exact=False))
    return matches


def _untangle(matches: list[Match], count: int, offset: int) -> tuple[list[Match], tuple[str, ...]]:
    """Cut clusters that are too large at their weaker links.

    Args:
        matches: Near-copies.
        count: Documents that `Match.first` counts.
        offset: Documents of the other set, when `Match.second` counts another; else 0.
    """
    total = count + offset
    limit = max(_LARGEST_CLUSTER, _LARGEST_SHARE * total)
    shift = count if offset else 0
    largest, asked = 0, JACCARD
    for stricter in _STRICTER:
        roots = join(total, ((match.first, match.second + shift) for match in matches))
        sizes = np.bincount(roots, minlength=total)
        if sizes.max(initial=0) <= limit:
            break
        largest = largest or int(sizes.max())
        asked = stricter
        matches = [
            match
            for match in matches
            if sizes[roots[match.first]] <= limit or match.similarity >= stricter
        ]
    if not largest:
        return matches, ()
    note = (
        f"{largest:,} of {total:,} documents hang together by likenesses, as documents made from a "
        f"template do; among them only those count as near-copies whose shingles have a Jaccard "
        f"similarity of at least {asked:g}"
    )
    return matches, (note,)


def _spread(matches: list[Match], left: Sketches, right: Sketches) -> list[Match]:
    """Make matches of forms into matches of documents, each document of the forms at least once."""
    members_of_left, members_of_right = _group(left.forms), _group(right.forms)
    twins_of_left, twins_of_right = _find_twins(left, right), _find_twins(right, left)
    spread: dict[tuple[int, int], Match] = {}

    def add(match: Match, first: int, second: int) -> None:
        exact = bool(right.texts[second] == twins_of_left.get(first))
        spread[first, second] = replace(match, first=first, second=second, exact=exact)

    for match in matches:
        form, other = int(left.forms[match.first]), int(right.forms[match.second])
        ours, theirs = members_of_left[form], members_of_right[other]
        for index in ours:
            twin = twins_of_left.get(index)
            beside = twin is not None and right.forms[twin] == other
            add(match, index, twin if twin is not None and beside else theirs[0])
        for index in theirs:
            twin = twins_of_right.get(index)
            beside = twin is not None and left.forms[twin] == form
            add(match, twin if twin is not None and beside else ours[0], index)
    return sorted(spread.values(), key=lambda match: (match.first, match.second))


def _group(ids: Integers) -> dict[int, list[int]]:
    """Return id -> indices that have it, both in order of first appearance."""
    members: dict[int, list[int]] = {}
    for index, number in enumerate(ids.tolist()):
        members.setdefault(number, []).append(index)
    return members


def _find_twins(side: Sketches, other: Sketches) -> dict[int, int]:
    """Return document -> first document of the other side with the same text."""
    places = {
        (other.documents[text].text, other.documents[text].text_pair): text
        for text in np.unique(other.texts).tolist()
    }
    twins = {}
    for index, document in enumerate(side.documents):
        twin = places.get((document.text, document.text_pair))
        if twin is not None:
            twins[index] = twin
    return twins


def _largest_first(roots: Integers) -> tuple[tuple[int, ...], ...]:
    groups = [tuple(members) for members in _group(roots).values() if len(members) > 1]
    return tuple(sorted(groups, key=lambda group: (-len(group), group)))
