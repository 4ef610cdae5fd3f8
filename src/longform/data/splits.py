"""One set of documents into training and validation, every class on both sides where it can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longform.errors import InputError
from longform.extras import require
from longform.types import Document

_NAMED = 10


@dataclass(frozen=True, slots=True)
class Split:
    """Documents for training and for validation, each in the order given.

    Attributes:
        train: What the model learns from.
        validation: What it is judged on; shares no text with `train`.
        notes: Classes that could not be on both sides, and what else the user should know.
    """

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    notes: tuple[str, ...] = ()


def stratified_split(documents: Sequence[Document], fraction: float = 0.1, seed: int = 42) -> Split:
    """Hold out a share of the texts of every class.

    Documents with the same text stay on one side, or the validation figures would be those of
    texts learnt by heart; where their labels contradict each other, the first one counts here.
    A class with two or more texts gives at least one to each side, so that no class goes unjudged;
    a class with one text goes to training.

    Args:
        documents: Labelled documents.
        fraction: Share of the texts of each class to hold out, between 0 and 1.
        seed: The same seed and documents give the same split.

    Raises:
        InputError: The fraction is not a share, or a side would be empty.
        MissingExtraError: scikit-learn is not installed.
    """
    if not 0 < fraction < 1:
        raise InputError(
            "The share of documents held out for validation must lie between 0 and 1.",
            found=f"{fraction}",
            fix="Set validation_split, for example to 0.1.",
        )
    places_of_text: dict[str, list[int]] = {}
    for place, document in enumerate(documents):
        places_of_text.setdefault(document.text, []).append(place)
    texts_of_class: dict[str, list[str]] = {}
    for text, places in places_of_text.items():
        texts_of_class.setdefault(documents[places[0]].label or "", []).append(text)

    held_out: set[int] = set()
    for name in sorted(texts_of_class):
        for text in _hold_out(texts_of_class[name], fraction, seed):
            held_out.update(places_of_text[text])

    train = tuple(d for place, d in enumerate(documents) if place not in held_out)
    validation = tuple(d for place, d in enumerate(documents) if place in held_out)
    if not train or not validation:
        raise InputError(
            "Both training and validation need documents.",
            found=f"{len(train):,} for training and {len(validation):,} for validation out of "
            f"{len(documents):,} documents with {len(places_of_text):,} different texts in "
            f"{len(texts_of_class):,} classes",
            fix="Add documents until some class has two different texts, "
            "or give a file with --validation.",
        )
    single = [name for name, texts in sorted(texts_of_class.items()) if len(texts) == 1]
    return Split(train, validation, _describe(single, len(documents) - len(places_of_text)))


def _hold_out(texts: list[str], fraction: float, seed: int) -> list[str]:
    if len(texts) < 2:
        return []
    count = min(max(round(fraction * len(texts)), 1), len(texts) - 1)
    selection = require("sklearn.model_selection", "Splitting off validation documents")
    _, held_out = selection.train_test_split(texts, test_size=count, random_state=seed)
    return list(held_out)


def _describe(single: list[str], repeats: int) -> tuple[str, ...]:
    notes = []
    if single:
        named = ", ".join(f"'{name}'" for name in single[:_NAMED])
        more = f" and {len(single) - _NAMED:,} more" if len(single) > _NAMED else ""
        notes.append(f"classes with a single text, trained on but not validated: {named}{more}")
    if repeats:
        notes.append(f"{repeats:,} documents repeat a text and stay on the side of the first")
    return tuple(notes)
