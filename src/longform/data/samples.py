"""A synthetic corpus for the demo: long documents whose class stands in one passage of them.

Documents of several kinds are put together from the templates of `samples_zh.yaml` and
`samples_en.yaml`. What decides the class is one passage of one to three sentences, anywhere in the
document with equal chance; other passages speak of all classes in the negative, as a possibility
or about another matter, and nothing else depends on the class. Who reads only the beginning of
such a document has to guess, which is what the corpus is there to show.
"""

from __future__ import annotations

import csv
import random
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import yaml

from longform.errors import InputError
from longform.types import Document

Language = Literal["zh", "en"]

_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_VALUE = re.compile(r"\{([^{}]+)\}")
_OPENING_SHARE = 0.15
"""Share of filling sentences that begin with words such as 此外."""
_WITHDRAWN_SHARE = 0.25
"""Share of documents that also quote a decision which was withdrawn: the hard ones."""
_MARK_SHARE = 0.06
"""Share of a document that numbers and line ends of its paragraphs take, with some to spare."""
_LONGEST_SENTENCE = 300
"""Characters that the last sentence may bring above the length drawn."""
_LEAST_CHARACTERS = 1000
"""Below this, header, deciding passage and distractors leave no room for anything else."""
_CHINESE_NUMERALS = "零一二三四五六七八九十"


@dataclass(frozen=True, slots=True)
class _Kind:
    header: tuple[str, ...]
    lead: tuple[str, ...]
    filler: tuple[str, ...]
    paragraph: str


@dataclass(frozen=True, slots=True)
class _Grammar:
    separator: str
    fixed: tuple[str, ...]
    values: dict[str, tuple[str, ...]]
    kinds: tuple[_Kind, ...]
    filler: tuple[str, ...]
    openings: tuple[str, ...]
    withdrawn_before: tuple[str, ...]
    withdrawn_after: tuple[str, ...]
    distractors: dict[str, tuple[str, ...]]
    decision: dict[str, tuple[str, ...]]
    consequence: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class CorpusFiles:
    """Where the parts of a corpus were written."""

    train: Path
    validation: Path
    test: Path


def sample_labels(language: Language = "zh") -> tuple[str, ...]:
    """Return the classes of the synthetic corpus."""
    return tuple(_load_grammar(language).decision)


def generate_documents(
    count: int,
    *,
    seed: int = 42,
    minimum_characters: int = 1500,
    maximum_characters: int = 8000,
    language: Language = "zh",
) -> list[Document]:
    """Make labelled documents; classes and kinds are equally frequent.

    Args:
        count: How many.
        seed: The same seed gives the same documents, and a larger count only adds to them.
        minimum_characters: Least length of a document.
        maximum_characters: Greatest length of a document.
        language: `zh`, or the smaller `en`.

    Raises:
        InputError: The lengths or the language cannot be used.
    """
    grammar = _load_grammar(language)
    longest = round((1 - _MARK_SHARE) * maximum_characters) - _LONGEST_SENTENCE
    if not _LEAST_CHARACTERS <= minimum_characters <= longest:
        raise InputError(
            f"Sample documents have at least {_LEAST_CHARACTERS:,} characters, and the greatest "
            "length must leave some room above the least.",
            found=f"from {minimum_characters:,} to {maximum_characters:,}",
            fix="For example from 1500 to 8000.",
        )
    labels = tuple(grammar.decision)
    documents = []
    for index in range(count):
        label = labels[index % len(labels)]
        kind = grammar.kinds[index // len(labels) % len(grammar.kinds)]
        writer = _Writer(grammar, kind, random.Random(f"{language}/{seed}/{index}"))
        text = writer.write(label, minimum_characters, longest)
        documents.append(Document(id=f"{language}-{seed}-{index:05d}", text=text, label=label))
    return documents


def write_corpus(
    folder: Path,
    *,
    train: int = 1200,
    validation: int = 200,
    test: int = 300,
    seed: int = 42,
    language: Language = "zh",
) -> CorpusFiles:
    """Write `train.csv`, `validation.csv` and `test.csv`: UTF-8 with columns id, text, label.

    Args:
        folder: Created when it is missing; files of these names are replaced.
        train: Documents to train on.
        validation: Documents to choose the best epoch by.
        test: Documents to measure on.
        seed: As for `generate_documents`.
        language: As for `generate_documents`.

    Raises:
        InputError: The folder cannot be written.
    """
    documents = generate_documents(train + validation + test, seed=seed, language=language)
    random.Random(seed).shuffle(documents)
    paths = CorpusFiles(*(folder / f"{name}.csv" for name in ("train", "validation", "test")))
    parts = (
        (paths.train, documents[:train]),
        (paths.validation, documents[train : train + validation]),
        (paths.test, documents[train + validation :]),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, part in parts:
            with path.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow(("id", "text", "label"))
                writer.writerows((d.id, d.text, d.label) for d in part)
    except OSError as error:
        raise InputError(
            "The folder for the sample corpus must be writable.",
            found=f"{folder}: {error.strerror or error}",
            fix="Name another folder or free some space.",
        ) from error
    return paths


class _Writer:
    """Writes one document."""

    def __init__(self, grammar: _Grammar, kind: _Kind, generator: random.Random) -> None:
        self._grammar = grammar
        self._kind = kind
        self._generator = generator
        self._fixed: dict[str, str] = {}
        self._fixed = {name: self._expand(f"{{{name}}}") for name in grammar.fixed}

    def write(self, label: str, shortest: int, longest: int) -> str:
        header = self._write(self._kind.header)
        passages = self._write_distractors()
        deciding = self._write_deciding(label)
        sentences: list[str] = []
        aim = self._generator.randint(shortest, longest)
        # What is inserted below counts, the marks of paragraphs only lengthen the document.
        length = sum(map(len, (header, deciding, *passages)))
        templates: list[str] = []
        while length < aim:
            if not templates:
                # Dealt like cards, so that a template comes back only after all the others.
                templates = [*self._kind.filler, *self._grammar.filler]
                self._generator.shuffle(templates)
            sentences.append(self._write_filler(templates.pop()))
            length += len(sentences[-1]) + len(self._grammar.separator)
        for passage in passages:
            sentences.insert(self._generator.randint(0, len(sentences)), passage)
        sentences.insert(self._generator.randint(0, len(sentences)), deciding)
        return "\n".join([header, *self._break_paragraphs(sentences)])

    def _write_filler(self, template: str) -> str:
        sentence = self._expand(template)
        openings = self._grammar.openings
        if not openings or sentence.startswith("“") or self._generator.random() > _OPENING_SHARE:
            return sentence
        return self._write(openings) + self._grammar.separator + sentence

    def _write_distractors(self) -> list[str]:
        passages = []
        for templates in self._grammar.distractors.values():
            # Independent of the class, or the classes left out would give it away.
            for template in self._generator.sample(templates, self._generator.randint(0, 2)):
                passages.append(self._expand(template))
        if self._generator.random() < _WITHDRAWN_SHARE:
            decision = self._generator.choice(tuple(self._grammar.decision.values()))
            parts = (self._grammar.withdrawn_before, decision, self._grammar.withdrawn_after)
            passages.append(self._grammar.separator.join(map(self._write, parts)))
        return passages

    def _write_deciding(self, label: str) -> str:
        consequences = self._grammar.consequence[label]
        chosen = self._generator.sample(consequences, self._generator.randint(1, 2))
        sentences = [self._write(self._kind.lead) + self._grammar.separator]
        sentences[0] += self._write(self._grammar.decision[label])
        return self._grammar.separator.join([*sentences, *map(self._expand, chosen)])

    def _break_paragraphs(self, sentences: list[str]) -> list[str]:
        paragraphs: list[str] = []
        start = 0
        while start < len(sentences):
            end = start + self._generator.randint(2, 7)
            number = len(paragraphs) + 1
            mark = self._kind.paragraph.replace("{序}", _write_numeral(number))
            mark = mark.replace("{index}", str(number))
            paragraphs.append(mark + self._grammar.separator.join(sentences[start:end]))
            start = end
        return paragraphs

    def _write(self, templates: tuple[str, ...]) -> str:
        return self._expand(self._generator.choice(templates))

    def _expand(self, template: str) -> str:
        """Replace alternatives, innermost first, then values, until none are left."""
        text = template
        while "[" in text or "{" in text:
            text = _VALUE.sub(self._fill, _ALTERNATIVES.sub(self._choose, text))
        return text

    def _choose(self, match: re.Match[str]) -> str:
        chosen: str = self._generator.choice(match[1].split("|"))
        return chosen

    def _fill(self, match: re.Match[str]) -> str:
        name = match[1]
        return self._fixed.get(name) or self._write(self._grammar.values[name])


def _write_numeral(number: int) -> str:
    """Write a number below 100 as in 第二十三条; larger ones, which do not occur, in digits."""
    if number >= 100:
        return str(number)
    tens, ones = divmod(number, 10)
    tail = _CHINESE_NUMERALS[ones] if ones or not tens else ""
    return (_CHINESE_NUMERALS[tens] if tens > 1 else "") + ("十" if tens else "") + tail


@lru_cache(maxsize=2)
def _load_grammar(language: Language) -> _Grammar:
    if language not in ("zh", "en"):
        raise InputError(
            "Sample documents exist in Chinese (zh) and English (en).",
            found=f"language '{language}'",
            fix="Use zh or en.",
        )
    resource = files("longform.data").joinpath(f"samples_{language}.yaml")
    content = yaml.safe_load(resource.read_text(encoding="utf-8"))
    kinds = tuple(
        _Kind(
            header=_read_lines(kind["header"]),
            lead=_read_lines(kind["lead"]),
            filler=_read_lines(kind["filler"]),
            paragraph=kind["paragraph"],
        )
        for kind in content["kinds"].values()
    )
    deciding = content["deciding"].items()
    return _Grammar(
        separator=content["separator"],
        fixed=tuple(content["fixed"]),
        values={name: _read_lines(lines) for name, lines in content["values"].items()},
        kinds=kinds,
        filler=_read_lines(content["filler"]),
        openings=_read_lines(content.get("openings", "")),
        withdrawn_before=_read_lines(content["withdrawn_before"]),
        withdrawn_after=_read_lines(content["withdrawn_after"]),
        distractors={name: _read_lines(lines) for name, lines in content["distractors"].items()},
        decision={name: _read_lines(passages["decision"]) for name, passages in deciding},
        consequence={name: _read_lines(passages["consequence"]) for name, passages in deciding},
    )


def _read_lines(block: str) -> tuple[str, ...]:
    return tuple(line.replace("\\n", "\n") for line in block.splitlines() if line.strip())
