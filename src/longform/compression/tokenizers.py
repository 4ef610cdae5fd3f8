"""A `tokenizer.json` with fewer tokens: which must stay, and how the rest is renumbered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tokenizers import Tokenizer

from longform.errors import InputError

_KINDS = ("WordPiece", "Unigram", "BPE", "WordLevel")
_WORD_MARKS = ("##", "▁", "Ġ")
"""What kinds of tokenizers put before the characters of a piece."""


class TokenizerFile:
    """The content of a `tokenizer.json`.

    Args:
        serialized: The file.

    Raises:
        InputError: It is of a kind that cannot lose tokens.
    """

    def __init__(self, serialized: str) -> None:
        self._content: dict[str, Any] = json.loads(serialized)
        self._model: dict[str, Any] = self._content["model"]
        self.kind = str(self._model.get("type"))
        if self.kind not in _KINDS:
            raise InputError(
                f"Vocabularies can be pruned of the kinds {', '.join(_KINDS)}.",
                found=f"a tokenizer of the kind {self.kind}",
                fix="Leave --vocabulary out; layers and heads can be pruned all the same.",
            )
        if self.kind == "BPE" and self._model.get("dropout"):
            raise InputError(
                "Byte pairs can be pruned where each text has one segmentation.",
                found=f"a tokenizer that drops merges at random ({self._model['dropout']})",
                fix="Set the model's dropout in tokenizer.json to null.",
            )
        self._normalizer = Tokenizer.from_str(serialized).normalizer

    @property
    def pieces(self) -> dict[str, int]:
        """Every token with its id, added tokens included."""
        vocabulary = self._model["vocab"]
        if isinstance(vocabulary, dict):
            found = dict(vocabulary)
        else:
            found = {piece: number for number, (piece, _) in enumerate(vocabulary)}
        return found | {token["content"]: token["id"] for token in self._content["added_tokens"]}

    def indispensable(self) -> set[int]:
        """Return the ids that no tokenizer of this kind can lose.

        Added and framing tokens, the unknown token and the bytes. Of Unigram also the rarest
        piece: an unknown character costs a path ten more than it.
        """
        pieces = self.pieces
        kept = {token["id"] for token in self._content["added_tokens"]}
        kept |= set(_framing_ids(self._content.get("post_processor")))
        kept |= {
            number
            for piece, number in pieces.items()
            if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
        }
        unknown = self._model.get("unk_token")
        if unknown in pieces:
            kept.add(pieces[unknown])
        if self.kind == "Unigram":
            if self._model.get("unk_id") is not None:
                kept.add(self._model["unk_id"])
            scores = [score for _, score in self._model["vocab"]]
            kept.add(scores.index(min(scores)))
        return kept

    def characters(self) -> set[int]:
        """Return the ids of pieces of one character, from which any known text can be built."""
        prefix = self._model.get("continuing_subword_prefix") or ""
        suffix = self._model.get("end_of_word_suffix") or ""
        return {
            number
            for piece, number in self.pieces.items()
            if len(piece) == 1 or len(piece.removeprefix(prefix).removesuffix(suffix)) == 1
        }

    def within(self, text: str) -> set[int]:
        """Return the ids of all pieces that stand in a text as the tokenizer sees it."""
        folded = self._normalizer.normalize_str(text) if self._normalizer is not None else text
        found = set()
        for piece, number in self.pieces.items():
            bare = piece
            for mark in _WORD_MARKS:
                bare = bare.removeprefix(mark)
            if bare and bare in folded:
                found.add(number)
        return found

    def closure(self, kept: set[int]) -> set[int]:
        """Add what the kept tokens are made of.

        A token of byte pairs exists only through its merges, and those through their parts. With
        the parts of all merges that end in kept tokens, a text whose tokens are kept goes through
        the very same merges as before.
        """
        if self.kind != "BPE":
            return set(kept)
        pieces = self.pieces
        parts: dict[int, list[int]] = {}
        for left, right in self._merges():
            joined = pieces[self._joined(left, right)]
            parts.setdefault(joined, []).extend((pieces[left], pieces[right]))
        closed, waiting = set(kept), list(kept)
        while waiting:
            for part in parts.get(waiting.pop(), ()):
                if part not in closed:
                    closed.add(part)
                    waiting.append(part)
        return closed

    def keep(self, kept: Iterable[int]) -> str:
        """Return a `tokenizer.json` of these tokens alone, numbered anew in their old order.

        Args:
            kept: Ids; closed under `closure`, with all that is `indispensable`.
        """
        numbers = {old: new for new, old in enumerate(sorted(kept))}
        content = json.loads(json.dumps(self._content))
        model = content["model"]
        if self.kind == "Unigram":
            model["vocab"] = [row for old, row in enumerate(model["vocab"]) if old in numbers]
            model["unk_id"] = numbers.get(model.get("unk_id"))
        else:
            model["vocab"] = _renumbered(model["vocab"], numbers)
        if self.kind == "BPE":
            vocabulary = model["vocab"]
            model["merges"] = [
                merge
                for merge, (left, right) in zip(model["merges"], self._merges(), strict=True)
                if {left, right, self._joined(left, right)} <= vocabulary.keys()
            ]
        for token in content["added_tokens"]:
            token["id"] = numbers[token["id"]]
        _renumber_frame(content.get("post_processor"), numbers)
        if content.get("padding"):
            content["padding"]["pad_id"] = numbers.get(content["padding"]["pad_id"], 0)
        return json.dumps(content, ensure_ascii=False)

    def _merges(self) -> Iterator[tuple[str, str]]:
        for merge in self._model["merges"]:
            left, right = merge.split(" ") if isinstance(merge, str) else merge
            yield left, right

    def _joined(self, left: str, right: str) -> str:
        return left + right.removeprefix(self._model.get("continuing_subword_prefix") or "")


def _renumbered(vocabulary: Mapping[str, int], numbers: Mapping[int, int]) -> dict[str, int]:
    kept = [(numbers[old], piece) for piece, old in vocabulary.items() if old in numbers]
    return {piece: new for new, piece in sorted(kept)}


def _frames(processor: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield the post-processors that may hold ids, out of all sequences."""
    if processor is None:
        return
    if processor["type"] == "Sequence":
        for inner in processor["processors"]:
            yield from _frames(inner)
    elif processor["type"] != "ByteLevel":
        yield processor


def _framing_ids(processor: dict[str, Any] | None) -> Iterator[int]:
    for frame in _frames(processor):
        for token in frame.get("special_tokens", {}).values():
            yield from token["ids"]
        for name in ("sep", "cls"):
            if name in frame:
                yield frame[name][1]


def _renumber_frame(processor: dict[str, Any] | None, numbers: Mapping[int, int]) -> None:
    for frame in _frames(processor):
        for token in frame.get("special_tokens", {}).values():
            token["ids"] = [numbers[old] for old in token["ids"]]
        for name in ("sep", "cls"):
            if name in frame:
                frame[name][1] = numbers[frame[name][1]]
