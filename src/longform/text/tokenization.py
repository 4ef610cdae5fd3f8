"""A tokenizer as longform uses it: one sentence at a time, nothing cut, nothing special in a text.

Wraps the `tokenizers` library, so that training and serving share it without transformers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from longform.errors import InputError
from longform.types import Integers, TokenIds

_PAD_TOKENS = ("<pad>", "[PAD]", "<|pad|>", "<|endoftext|>")


class TextTokenizer:
    """Token ids of sentences, and the ids that frame a segment.

    Args:
        serialized: The content of a `tokenizer.json`.
    """

    def __init__(self, serialized: str) -> None:
        self._serialized = serialized
        self._tokenizer: Tokenizer = Tokenizer.from_str(serialized)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        # "[SEP]" typed by a user is text; only the frame below may hold special ids.
        self._tokenizer.encode_special_tokens = True

    @classmethod
    def from_file(cls, path: Path) -> TextTokenizer:
        """Load a `tokenizer.json`.

        Raises:
            InputError: The file is missing or is no tokenizer.
        """
        try:
            return cls(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(
                "The tokenizer must be a tokenizer.json file.",
                found=f"no file at {path}",
                fix="Save the tokenizer in its fast form, which writes tokenizer.json.",
            ) from error
        except Exception as error:  # tokenizers raises bare Exception for a bad file
            raise InputError(
                "The tokenizer file must be readable by the tokenizers library.",
                found=f"{path}: {error}",
                fix="Copy the file again from where it was made.",
            ) from error

    @property
    def serialized(self) -> str:
        """The content for a `tokenizer.json`."""
        return self._serialized

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the serialized tokenizer: equal digests give equal tokens."""
        return hashlib.sha256(self._serialized.encode("utf-8")).hexdigest()

    @property
    def vocabulary_size(self) -> int:
        """Number of ids, added tokens included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @cached_property
    def pad_id(self) -> int:
        """Id that fills a batch; the attention mask hides it from the encoder."""
        for token in _PAD_TOKENS:
            token_id = self._tokenizer.token_to_id(token)
            if token_id is not None:
                return int(token_id)
        return 0

    @cached_property
    def unknown_id(self) -> int | None:
        """Id of the unknown token, if there is one."""
        for token in (getattr(self._tokenizer.model, "unk_token", None), "[UNK]", "<unk>"):
            token_id = self._tokenizer.token_to_id(token) if token else None
            if token_id is not None:
                return int(token_id)
        return None

    def frame(self, prefix: str = "") -> tuple[list[int], list[int]]:
        """Return the ids that stand before and after the text of every segment.

        Args:
            prefix: Text that the encoder wants before each segment, such as `query: `.

        Returns:
            The special tokens with the prefix before the text, and the special tokens after it.

        Raises:
            InputError: The tokenizer has no token for any of the commonest characters.
        """
        framed = self._tokenizer.encode("a1的", add_special_tokens=True)
        special = framed.special_tokens_mask
        content = [index for index, flag in enumerate(special) if not flag]
        if not content:
            raise InputError(
                "A tokenizer must have tokens for common characters, or an unknown token.",
                found="none for 'a1的'",
                fix="Use the tokenizer.json that the encoder was trained with.",
            )
        before, after = framed.ids[: content[0]], framed.ids[content[-1] + 1 :]
        # The blank at a prefix's end is the one that tokenizers put before a text anyway.
        prefix_ids = self._tokenizer.encode(prefix.rstrip(), add_special_tokens=False).ids
        return [*before, *prefix_ids], list(after)

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each sentence, without special tokens, in parallel."""
        token_ids, lengths = self.encode_joined(sentences)
        return [part.tolist() for part in _split(token_ids, lengths)]

    def encode_joined(self, sentences: Sequence[str]) -> tuple[TokenIds, Integers]:
        """Return the token ids of all sentences in one array, and how many each has.

        The same as `encode`, and faster: no list of Python integers outlives its sentence.

        Returns:
            int32 `[tokens]` and int64 `[sentences]`.
        """
        encodings = self._tokenizer.encode_batch_fast(sentences, add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), dtype=np.int64, count=len(encodings))
        ids = chain.from_iterable(encoding.ids for encoding in encodings)
        token_ids = np.fromiter(ids, dtype=np.int32, count=int(lengths.sum()))
        forbidden = np.flatnonzero(np.isin(token_ids, list(self.special_ids)))
        if len(forbidden) == 0:
            return token_ids, lengths
        parts = _split(token_ids, lengths)
        for index in np.unique(np.searchsorted(np.cumsum(lengths), forbidden, side="right")):
            apart = self._encode_apart(sentences[index])
            parts[index] = np.array([token_id for token_id, _ in apart], dtype=np.int32)
            lengths[index] = len(apart)
        return np.concatenate(parts), lengths

    def offsets(self, sentences: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return the characters `(start, end)` of each token of each sentence."""
        encodings = self._tokenizer.encode_batch(list(sentences), add_special_tokens=False)
        found = [encoding.offsets for encoding in encodings]
        for index, encoding in enumerate(encodings):
            if not self.special_ids.isdisjoint(encoding.ids):
                found[index] = [span for _, span in self._encode_apart(sentences[index])]
        return found

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of special tokens, which no text has; any text may have unknown tokens."""
        added = self._tokenizer.get_added_tokens_decoder()
        special = {token_id for token_id, token in added.items() if token.special}
        return frozenset(special - {self.unknown_id})

    def _encode_apart(self, sentence: str) -> list[tuple[int, tuple[int, int]]]:
        """Encode a sentence that spells special tokens, cutting each after its first character.

        A Unigram vocabulary has them among its pieces and takes `<s>` in a text for the token.

        Returns:
            Id and characters of each token.
        """
        encoding = self._tokenizer.encode(sentence, add_special_tokens=False)
        tokens = list(zip(encoding.ids, encoding.offsets, strict=True))
        cuts = {span[0] + 1 for token_id, span in tokens if token_id in self.special_ids}
        boundaries = [0, *sorted(cuts - {0, len(sentence)}), len(sentence)]
        if len(boundaries) == 2:
            return tokens
        return [
            (token_id, (begin + start, begin + end))
            for begin, stop in pairwise(boundaries)
            for token_id, (start, end) in self._encode_apart(sentence[begin:stop])
        ]


def _split(token_ids: TokenIds, lengths: Integers) -> list[TokenIds]:
    return np.split(token_ids, np.cumsum(lengths)[:-1]) if len(lengths) else []


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which no tokenizer takes, one for one by U+FFFD.

    Offsets into the result are offsets into `text`.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return text
