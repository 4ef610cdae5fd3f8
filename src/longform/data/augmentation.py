"""Changed copies of training documents that keep their labels.

For training documents alone, after the validation documents were held out. Every choice follows
from the seed, the document's id and the number of the copy, whatever the order and the process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from longform.config import AugmentationSettings
from longform.data.augmentation_steps import (
    Change,
    count_characters,
    delete_words,
    drop_sentences,
    replace_words,
    shuffle_sentences,
    swap_neighbours,
)
from longform.data.lexicon import SynonymLexicon
from longform.errors import InputError
from longform.reporting import Reporter
from longform.types import Document

Neighbours = Callable[[str], Sequence[str]]
BackTranslate = Callable[[str], str]
Changes = Mapping[str, Change]

_BACK_TRANSLATION = "back_translation"
_UNITS = {"sentence_dropout": "sentences", "sentence_shuffle": "sentences"}


@dataclass(slots=True)
class AugmentationReport:
    """What augmentation did to a set of documents.

    Attributes:
        documents: How many there were.
        copies: Changed copies that were made of them.
        unchanged: Copies that came out as the document was, and were left out.
        steps: How much each step changed, in all copies together.
    """

    documents: int = 0
    copies: int = 0
    unchanged: int = 0
    steps: dict[str, Change] = field(default_factory=dict)

    def add(self, changes: Changes) -> None:
        """Count the changes of one copy."""
        for step, change in changes.items():
            self.steps[step] = self.steps.get(step, Change(0, 0)) + change

    def describe(self) -> str:
        """Return the report in one line for the user."""
        shares = ", ".join(
            f"{step} {100 * change.changed / max(change.total, 1):.1f} % of the "
            f"{_UNITS.get(step, 'characters')}"
            for step, change in self.steps.items()
        )
        text = (
            f"Augmentation: {self.copies:,} changed copies of {self.documents:,} training "
            f"documents ({shares})"
        )
        if self.unchanged:
            text += (
                f"; {self.unchanged:,} more came out as the document was and are left out: too "
                "short, or nothing in them that a step could change"
            )
        return text + "."


class Augmenter:
    """Makes changed copies of documents, as the functions of `augmentation_steps` describe.

    No step on words touches a number, in digits or in Chinese.

    Args:
        settings: The steps, in the order in which they run, their strength, and the lexicon.
        seed: The same seed gives the same copies.
        neighbours: Asked for words like one that the lexicon lacks (a word between blanks, or a
            single Chinese character), such as an encoder's nearest token vectors.
        back_translate: Translates a text to another language and back; before all other steps.

    Raises:
        InputError: The lexicon cannot be read.
    """

    def __init__(
        self,
        settings: AugmentationSettings,
        seed: int,
        neighbours: Neighbours | None = None,
        back_translate: BackTranslate | None = None,
    ) -> None:
        self._settings = settings
        self._seed = seed
        self._neighbours = neighbours
        self._back_translate = back_translate
        self._lexicon = SynonymLexicon.load(settings.synonyms)
        self._asked: dict[str, tuple[str, ...]] = {}

    @property
    def active(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._settings.augmentation) or self._back_translate is not None

    def augment(self, document: Document, copy_number: int = 1) -> tuple[Document, Changes]:
        """Make one changed copy of a document.

        Args:
            document: Its id and the copy's number decide every choice.
            copy_number: From 1.

        Returns:
            The copy: all that the document has but for the texts, under its id with `#1` (the
            copy's number); and how much each step changed.

        Raises:
            InputError: The back-translation gave no text.
        """
        report = AugmentationReport()
        text = self._augment_text(document.text, document.id, copy_number, report)
        pair = document.text_pair
        if pair is not None:
            # Another generator than the first text's: equal texts are not changed alike.
            pair = self._augment_text(pair, f"{document.id}\0", copy_number, report)
        name = f"{document.id}#{copy_number}"
        return replace(document, id=name, text=text, text_pair=pair), report.steps

    def _augment_text(
        self, text: str, name: str, copy_number: int, report: AugmentationReport
    ) -> str:
        key = f"{self._seed}\0{copy_number}\0{name}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(key, digest_size=16).digest()
        generator = np.random.default_rng(int.from_bytes(digest))
        if self._back_translate is not None:
            text = self._translate(text, name, report)
        for step in self._settings.augmentation:
            text, change = self._run(step, text, generator)
            report.add({step: change})
        return text

    def _run(self, step: str, text: str, generator: np.random.Generator) -> tuple[str, Change]:
        strength = self._settings.augmentation_strength
        if step == "synonyms":
            return replace_words(text, strength, generator, self._lexicon, self._like)
        if step == "deletion":
            return delete_words(text, strength, generator, self._lexicon)
        if step == "swap":
            return swap_neighbours(text, strength, generator, self._lexicon)
        if step == "sentence_dropout":
            return drop_sentences(text, strength, generator)
        return shuffle_sentences(text, strength, generator)

    def _like(self, word: str) -> Sequence[str]:
        known = self._lexicon.synonyms(word)
        if known or self._neighbours is None:
            return known
        if word not in self._asked:
            others = dict.fromkeys(self._neighbours(word))
            self._asked[word] = tuple(
                other for other in others if other.strip() and other.lower() != word.lower()
            )
        return self._asked[word]

    def _translate(self, text: str, name: str, report: AugmentationReport) -> str:
        assert self._back_translate is not None
        translated = self._back_translate(text)
        if text.strip() and not translated.strip():
            raise InputError(
                "Back-translation must give a text for a text.",
                found=f"none for document '{name.rstrip(chr(0))}'",
                fix="Let the function that was handed in return the text as it was instead.",
            )
        total = count_characters(text)
        report.add({_BACK_TRANSLATION: Change(total if translated != text else 0, total)})
        return translated


def augment_documents(
    documents: Sequence[Document],
    settings: AugmentationSettings,
    seed: int,
    reporter: Reporter | None = None,
    augmenter: Augmenter | None = None,
) -> tuple[Document, ...]:
    """Add changed copies to the training documents.

    Args:
        documents: For training: a copy of a validation document would be a leak.
        settings: Without steps, no copies are made.
        seed: The same seed gives the same copies.
        reporter: Told how much each step changed.
        augmenter: Of the same settings, where it has neighbours or a back-translation.

    Returns:
        The documents, in their order, and behind them their copies; but not those that came out
        unchanged, which are counted.

    Raises:
        InputError: The lexicon cannot be read.
    """
    reporter = reporter or Reporter()
    augmenter = augmenter or Augmenter(settings, seed)
    if not augmenter.active:
        return tuple(documents)
    report = AugmentationReport(len(documents))
    copies = []
    total = len(documents) * settings.augmentation_copies
    with reporter.track("Augmenting", total) as advance:
        for number in range(1, settings.augmentation_copies + 1):
            for document in documents:
                copy, changes = augmenter.augment(document, number)
                report.add(changes)
                if (copy.text, copy.text_pair) != (document.text, document.text_pair):
                    copies.append(copy)
                advance(1)
    report.copies, report.unchanged = len(copies), total - len(copies)
    reporter.say(report.describe())
    return (*documents, *copies)
