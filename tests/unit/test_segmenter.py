from __future__ import annotations

import threading
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import tiny_tokenizers
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from longform.config import CleaningStep, SegmentSettings
from longform.errors import ConfigError, InputError
from longform.text import segmenter as segmenter_module
from longform.text.segmenter import Segmenter
from longform.text.sentences import MAX_SENTENCE_CHARACTERS, sentence_boundaries
from longform.text.tokenization import TextTokenizer
from longform.types import LabelScore, Prediction, SegmentedDocument

FRAGMENTS = [
    *("本院认为，", "被告应当赔偿损失。", "“走吧。”", "The court dismissed it. ", "3.14", "……"),
    *(
        "\n",
        "\n\n　　",
        "   ",
        "[SEP]",
        "<s>",
        "</s>",
        "\ud83d",
        "\x00",
        "👩\u200d👩\u200d👧",
        "e\u0301",
    ),
    *(
        "<p>",
        "&amp;",
        "https://a.b/c?d。",
        "！！！！",
        "1,000",
        "第3页\n",
        "臺灣",
        "★",
        "１２％",
        "㎏",
    ),
    *("a\u0323\u0301", "長文本" * 9, "x" * 40, "\u202eABC", "\ufeff", "𠀀", "①", "ﬁ", "\u3000"),
]
ALL_STEPS = get_args(CleaningStep)
texts = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=5), st.text("长文。. a", max_size=12)),
    max_size=14,
).map("".join)
knobs = st.fixed_dictionaries(
    {
        "segmenter": st.sampled_from(["sentence", "fixed"]),
        "segment_length": st.integers(12, 40),
        "overlap": st.integers(0, 6),
        "segment_prefix": st.sampled_from(["", "a: "]),
        "cleaning": st.sampled_from([(), ("control_characters",), ALL_STEPS]),
    }
)
kinds = pytest.mark.parametrize("kind", tiny_tokenizers.KINDS)


class Tokens:
    """What a text's tokens must be: those of its cleaned sentences, one after the other."""

    def __init__(self, segmenter: Segmenter, text: str) -> None:
        cleaned = segmenter.cleaner.clean(text)
        tokenizer, readable = segmenter.tokenizer, cleaned.text
        bounds = list(pairwise(sentence_boundaries(readable)))
        sentences = [readable[start:end] for start, end in bounds]
        self.ids = [token for ids in tokenizer.encode(sentences) for token in ids]
        self.spans = [
            cleaned.original_span(start + first, start + last)
            for (start, _), spans in zip(bounds, tokenizer.offsets(sentences), strict=True)
            for first, last in spans
        ]

    def longest_character(self) -> int:
        """Most tokens that share characters, between which no cut is possible."""
        longest = run = 0
        for index, (start, _) in enumerate(self.spans):
            run = run + 1 if index and start < self.spans[index - 1][1] else 1
            longest = max(longest, run)
        return longest


def contents(segmenter: Segmenter, document: SegmentedDocument) -> list[list[int]]:
    """Token ids of each segment without its frame, which is checked."""
    before, after = segmenter.tokenizer.frame(segmenter.settings.segment_prefix)
    found = []
    for segment in document.segments:
        ids = segment.token_ids.tolist()
        assert ids[: len(before)] == before
        assert ids[len(ids) - len(after) :] == after
        found.append(ids[len(before) : len(ids) - len(after)])
    return found


def same(one: SegmentedDocument, other: SegmentedDocument) -> bool:
    return (
        [(s.start, s.end, s.token_ids.tolist()) for s in one.segments]
        == [(s.start, s.end, s.token_ids.tolist()) for s in other.segments]
        and one.positions.tolist() == other.positions.tolist()
        and one.coverage == other.coverage
    )


def first_tokens(ids: list[int], parts: list[list[int]], overlap: int) -> list[int]:
    """Where each part may begin in `ids`, so that no part repeats more than `overlap` tokens of
    the one before, none lies within it, nothing is left out and the last ends with `ids`."""
    paths = {0: [0]} if not parts or ids[: len(parts[0])] == parts[0] else {}
    for previous, part in pairwise(parts):
        following = {}
        for begin, path in paths.items():
            end = begin + len(previous)
            for start in range(max(begin + 1, end - overlap), end + 1):
                reaches = start + len(part)
                if reaches > end and ids[start:reaches] == part:
                    following[start] = [*path, start]
        paths = following
    whole = [path for begin, path in paths.items() if begin + len(parts[-1]) == len(ids)]
    assert whole, "the segments do not hold the document's tokens"
    return whole[0]


@kinds
@given(text=texts, knobs=knobs)
@example(text="\ufdfa\ufdfa", knobs={"segment_length": 10})
@example(text="\n\n 。", knobs={"segment_length": 10})
@example(text="a" * 1500, knobs={"segment_length": 10, "overlap": 5})
@settings(deadline=None)
def test_every_token_is_in_a_segment_that_holds_its_characters(kind, text, knobs):
    segmenter = Segmenter(tiny_tokenizers.KINDS[kind](), SegmentSettings(**knobs))
    document = segmenter.segment(text)
    tokens = Tokens(segmenter, text)
    assert document.coverage.tokens_total == document.coverage.tokens_used == len(tokens.ids)
    assert (document.coverage.truncated, document.coverage.reason) == (False, None)
    if not tokens.ids:
        assert document.segments == ()
        return
    parts = contents(segmenter, document)
    assert all(parts)
    assert max(map(len, parts)) + len(segmenter._before) + len(segmenter._after) <= (
        segmenter.settings.segment_length
    )
    begins = first_tokens(tokens.ids, parts, segmenter.settings.overlap)
    for begin, part, segment in zip(begins, parts, document.segments, strict=True):
        for start, end in tokens.spans[begin : begin + len(part)]:
            assert segment.start <= start <= end <= segment.end


@kinds
@given(text=texts, knobs=knobs)
@example(text="长。\x00\x00。\x00", knobs={"segment_length": 10})
@example(text="长" + " " * 2500 + "文" + "\n" * 2500, knobs={"segment_length": 10})
@settings(deadline=None)
def test_segments_follow_each_other_without_gap_and_none_is_inside_another(kind, text, knobs):
    segmenter = Segmenter(tiny_tokenizers.KINDS[kind](), SegmentSettings(**knobs))
    # Such a character must be in two segments; it has a test of its own.
    assume(Tokens(segmenter, text).longest_character() <= segmenter.capacity)
    segments = segmenter.segment(text).segments
    if not segments:
        return
    assert (segments[0].start, segments[-1].end) == (0, len(text))
    grows = "unicode_nfkc" in segmenter.settings.cleaning
    for one, other in pairwise(segments):
        if grows:
            # One character may have become several, which two segments can share.
            assert one.start <= other.start <= one.end <= other.end
            continue
        assert one.start < other.start <= one.end < other.end
        if segmenter.settings.overlap == 0:
            assert other.start == one.end


@kinds
@given(documents=st.lists(texts, max_size=5), knobs=knobs, characters=st.integers(1, 60))
@settings(deadline=None)
def test_r29_the_result_is_the_same_whatever_the_batch(kind, documents, knobs, characters):
    segmenter = Segmenter(tiny_tokenizers.KINDS[kind](), SegmentSettings(**knobs))
    alone = [segmenter.segment(text) for text in documents]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmenter_module, "_BATCH_CHARACTERS", characters)
        together = segmenter.segment_batch(documents)
    assert len(together) == len(documents)
    assert all(map(same, alone, together))


@kinds
@pytest.mark.parametrize("text", ["", " ", "\n", " \t\r\n　", "\n\n"])
def test_r26_a_text_without_tokens_has_no_segment(kind, text):
    segmenter = Segmenter(tiny_tokenizers.KINDS[kind](), SegmentSettings(segment_length=16))
    document = segmenter.segment(text)
    ids = Tokens(segmenter, text).ids
    assert bool(document.segments) == bool(ids)
    assert document.positions.shape == (len(document.segments), 4)
    assert document.coverage.tokens_total == len(ids)
    if kind in {"word_pieces", "bag"}:
        assert not ids


@pytest.mark.parametrize("segmenter_name", ["sentence", "fixed"])
@pytest.mark.parametrize("segments", [1, 2, 5])
@pytest.mark.parametrize("difference", [-1, 0, 1])
def test_r25_lengths_at_the_limits(segmenter_name, segments, difference):
    settings = SegmentSettings(segmenter=segmenter_name, segment_length=12)
    segmenter = Segmenter(tiny_tokenizers.word_pieces(), settings)
    assert segmenter.capacity == 10
    length = segments * 10 + difference
    document = segmenter.segment("长" * length)
    full = [(start, min(start + 10, length)) for start in range(0, length, 10)]
    assert [(s.start, s.end) for s in document.segments] == full
    assert [len(s.token_ids) for s in document.segments] == [end - start + 2 for start, end in full]


@pytest.mark.parametrize(("length", "segments"), [(10, 1), (11, 2), (17, 2), (18, 3), (24, 3)])
def test_r25_lengths_at_multiples_of_the_stride(length, segments):
    settings = SegmentSettings(segmenter="fixed", segment_length=12, overlap=3)
    document = Segmenter(tiny_tokenizers.word_pieces(), settings).segment("长" * length)
    assert len(document.segments) == segments
    for one, other in pairwise(document.segments):
        assert other.start < one.end < other.end
        assert one.end - other.start == 3
    assert document.coverage.tokens_used == length


def test_sentences_stay_whole_where_they_fit_and_are_cut_where_they_do_not():
    text = "长文本。分类器。" + "字" * 13 + "。意思。"
    spans = {}
    for name in ("sentence", "fixed"):
        settings = SegmentSettings(segmenter=name, segment_length=12)
        document = Segmenter(tiny_tokenizers.word_pieces(), settings).segment(text)
        spans[name] = [text[s.start : s.end] for s in document.segments]
    # The sentence that fits no segment may be cut anywhere, so that its start fills the first.
    assert spans["sentence"] == ["长文本。分类器。字字", "字" * 10, "字。意思。"]
    assert spans["fixed"] == ["长文本。分类器。字字", "字" * 10, "字。意思。"]
    text = "长文本。分类器。" + "字" * 6 + "。意思。"
    for name, expected in (("sentence", 8), ("fixed", 10)):
        settings = SegmentSettings(segmenter=name, segment_length=12)
        document = Segmenter(tiny_tokenizers.word_pieces(), settings).segment(text)
        assert document.segments[0].end == expected


def test_an_overlap_repeats_whole_sentences():
    settings = SegmentSettings(segment_length=14, overlap=5)
    text = "长文本。分类器。每一个字。不遗漏。任何句子。"
    document = Segmenter(tiny_tokenizers.word_pieces(), settings).segment(text)
    assert [text[s.start : s.end] for s in document.segments] == [
        "长文本。分类器。",
        "分类器。每一个字。",
        "每一个字。不遗漏。",
        "不遗漏。任何句子。",
    ]


def test_white_space_belongs_to_the_segment_before_it():
    text = "\n\n 长文本分类器。  \n\n　　读完每一个字。\n"
    settings = SegmentSettings(segment_length=10)
    document = Segmenter(tiny_tokenizers.word_pieces(), settings).segment(text)
    assert [text[s.start : s.end] for s in document.segments] == [
        "\n\n 长文本分类器。  \n\n　　",
        "读完每一个字。\n",
    ]


def test_r22_a_character_of_more_tokens_than_a_segment_is_in_both_segments():
    tokenizer = tiny_tokenizers.unigram()
    assert len(tokenizer.encode(["\ufdfa"])[0]) > 6
    document = Segmenter(tokenizer, SegmentSettings(segment_length=8)).segment("长\ufdfa文")
    assert document.coverage.tokens_used == document.coverage.tokens_total
    holders = [s for s in document.segments if s.start <= 1 and s.end >= 2]
    assert len(holders) > 1
    assert (document.segments[0].start, document.segments[-1].end) == (0, 3)


@kinds
@pytest.mark.parametrize("text", ["长[SEP]文", "<s>长</s>", "[CLS]<pad>[PAD]<|endoftext|>"])
def test_r28_only_the_frame_has_special_ids(kind, text):
    segmenter = Segmenter(tiny_tokenizers.KINDS[kind](), SegmentSettings(segment_length=10))
    special = {"word_pieces": {0, 2, 3, 4}, "unigram": {0, 1, 2}, "byte_pairs": {258}, "bag": {0}}
    for part in contents(segmenter, segmenter.segment(text)):
        assert special[kind].isdisjoint(part)


class CharacterTokenizer(TextTokenizer):
    """One token a character, and a record of all that it was given."""

    def __init__(self) -> None:
        super().__init__(tiny_tokenizers.bag().serialized)
        self.most_at_once = self.characters = self.longest = 0

    def _count(self, sentences) -> None:
        self.most_at_once = max(self.most_at_once, sum(map(len, sentences)))
        self.characters += sum(map(len, sentences))
        self.longest = max(self.longest, *map(len, sentences), 0, 0)

    def encode_joined(self, sentences):
        self._count(sentences)
        lengths = np.array([len(sentence) for sentence in sentences], dtype=np.int64)
        return np.full(lengths.sum(), 5, dtype=np.int32), lengths

    def offsets(self, sentences):
        self._count(sentences)
        return [[(index, index + 1) for index in range(len(s))] for s in sentences]


@pytest.mark.parametrize(
    "text",
    ["长" * 3_000_000, "".join(f"这是第{number}句话。" for number in range(100_000))],
    ids=["one repeated character", "100,000 sentences"],
)
@pytest.mark.parametrize("name", ["sentence", "fixed"])
def test_r23_r24_the_tokenizer_reads_each_character_at_most_twice(name, text):
    tokenizer = CharacterTokenizer()
    settings = SegmentSettings(segmenter=name, segment_length=256)
    document = Segmenter(tokenizer, settings).segment(text)
    assert len(text) <= tokenizer.characters <= 2 * len(text)
    assert tokenizer.longest <= MAX_SENTENCE_CHARACTERS
    assert document.coverage.tokens_used == len(text)
    assert len(document.segments) <= len(text) // 240 + 1


def test_r23_many_texts_are_handed_over_in_bounded_groups(monkeypatch):
    monkeypatch.setattr(segmenter_module, "_BATCH_CHARACTERS", 1_000)
    tokenizer = CharacterTokenizer()
    taken = []
    texts = (taken.append(number) or "字" * 100 for number in range(100))
    documents = Segmenter(tokenizer, SegmentSettings()).iterate(texts)
    next(documents)
    # The first group and those that are worked on ahead, of ten texts each.
    assert len(taken) <= 40
    assert tokenizer.characters <= 4_000
    assert len(list(documents)) == 99
    assert tokenizer.characters == 10_000
    assert tokenizer.most_at_once <= 1_000


def test_r23_one_long_text_is_handed_over_in_bounded_parts(monkeypatch):
    monkeypatch.setattr(segmenter_module, "_BATCH_CHARACTERS", 1_000)
    tokenizer = CharacterTokenizer()
    document = Segmenter(tokenizer, SegmentSettings()).segment("每个字。" * 5_000)
    assert document.coverage.tokens_used == 20_000
    assert tokenizer.most_at_once <= 1_000


def test_a_fault_of_the_texts_reaches_the_caller_and_leaves_no_thread(monkeypatch):
    monkeypatch.setattr(segmenter_module, "_BATCH_CHARACTERS", 100)

    def broken():
        yield from ["字" * 100] * 5
        raise InputError("The file must be whole.")

    segmenter = Segmenter(CharacterTokenizer(), SegmentSettings())
    with pytest.raises(InputError, match="must be whole"):
        list(segmenter.iterate(broken()))
    abandoned = segmenter.iterate(["字" * 100] * 50)
    next(abandoned)
    abandoned.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("longform-ahead")]


def test_an_overlap_costs_only_what_it_repeats():
    tokenizer = CharacterTokenizer()
    settings = SegmentSettings(segmenter="fixed", segment_length=100, overlap=50)
    document = Segmenter(tokenizer, settings).segment("字" * 10_000)
    assert tokenizer.characters == 20_000
    assert len(document.segments) == 199


selections = st.fixed_dictionaries(
    {
        "selection": st.sampled_from(["all", "head", "tail", "head_tail"]),
        "head_tokens": st.integers(1, 60),
        "tail_tokens": st.integers(1, 60),
        "max_segments": st.none() | st.integers(1, 6),
        "segmenter": st.sampled_from(["sentence", "fixed"]),
        "overlap": st.integers(0, 6),
    }
)


@given(text=st.text("长文本字。", min_size=1, max_size=120), knobs=selections)
@example(
    text="长" * 20,
    knobs={
        "selection": "head_tail",
        "head_tokens": 12,
        "tail_tokens": 12,
        "segmenter": "fixed",
        "segment_length": 12,
        "overlap": 5,
    },
)
@settings(deadline=None)
def test_coverage_and_places_are_true_under_every_selection(text, knobs):
    # One token a character, so that character offsets count tokens.
    tokenizer = tiny_tokenizers.word_pieces()
    chosen = SegmentSettings(**{"segment_length": 14, **knobs})
    everything = chosen.model_copy(update={"selection": "all", "max_segments": None})
    whole = Segmenter(tokenizer, everything).segment(text)
    document = Segmenter(tokenizer, chosen).segment(text)
    read = {place for s in document.segments for place in range(s.start, s.end)}
    coverage = document.coverage
    assert (coverage.tokens_total, coverage.tokens_used) == (len(text), len(read))
    assert coverage.segments_total == len(whole.segments)
    assert coverage.segments_used == len(document.segments) == len(document.positions) >= 1
    assert coverage.truncated == (len(read) < len(text)) == (coverage.reason is not None)
    assert coverage.reason in {None, "selection", "max_segments"}
    indices = document.positions[:, 0].astype(int).tolist()
    assert indices == sorted(set(indices))
    for index, place, segment in zip(indices, document.positions, document.segments, strict=True):
        twin = whole.segments[index]
        assert (segment.start, segment.end) == (twin.start, twin.end)
        assert np.array_equal(segment.token_ids, twin.token_ids)
        expected = np.array([index, segment.start / len(text), segment.end / len(text), 0])
        assert place.tolist() == expected.astype(np.float32).tolist()


def test_types_are_those_that_backends_expect():
    document = Segmenter(tiny_tokenizers.unigram(), SegmentSettings(segment_length=8)).segment("长")
    assert document.segments[0].token_ids.dtype == np.int32
    assert document.positions.dtype == np.float32


def test_a_segment_without_room_for_text_is_refused():
    settings = SegmentSettings(segment_length=10, segment_prefix="every word of this: ")
    with pytest.raises(ConfigError, match=r"length 10, overlap 0, \d+ tokens of prefix"):
        Segmenter(tiny_tokenizers.byte_pairs(), settings)
    settings = SegmentSettings(segment_length=8, overlap=4, segment_prefix="a b")
    with pytest.raises(ConfigError, match="Set segment_length above 8"):
        Segmenter(tiny_tokenizers.word_pieces(), settings)


def test_r27_tokens_that_the_vocabulary_lacks_are_counted_and_warned_of():
    segmenter = Segmenter(tiny_tokenizers.word_pieces(), SegmentSettings(segment_length=16))
    known, strange = segmenter.segment_batch([tiny_tokenizers.HAN[:4], "⚙⚙⚙ ⚙⚙"])
    assert known.coverage.tokens_unknown == 0
    assert strange.coverage.tokens_unknown > 0
    assert "tokens_unknown" not in strange.coverage.as_dict()
    scores = (LabelScore("a", 1.0),)
    assert Prediction("0", "a", 1.0, scores, known.coverage).warnings == ()
    (warning,) = Prediction("1", "a", 1.0, scores, strange.coverage).warnings
    assert "unknown to the model's vocabulary" in warning
