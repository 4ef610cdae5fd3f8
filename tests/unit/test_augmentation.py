from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longform.config import AugmentationSettings
from longform.data.augmentation import AugmentationReport, Augmenter, augment_documents
from longform.data.augmentation_steps import (
    count_characters,
    delete_words,
    drop_sentences,
    replace_words,
    shuffle_sentences,
    split_sentences,
    swap_neighbours,
)
from longform.data.lexicon import SynonymLexicon
from longform.errors import InputError
from longform.reporting import Reporter
from longform.types import Document

STEPS = ("synonyms", "deletion", "swap", "sentence_dropout", "sentence_shuffle")
LEXICON = SynonymLexicon.load()
NUMBERS = re.compile(r"[\d零〇一二三四五六七八九十百千万亿两]+")

CHINESE = (
    "双方当事人经常讨论合同的重要问题，认为应当立即支付货款。",
    "二〇二六年三月，被告支付了3.5万元，其余一百二十元没有支付！",
    "证人说：“我知道，情况很复杂。”",
    "本院认为",
    "经审查，上述证据来源合法，本院予以采信；鉴定意见准确。",
)
ENGLISH = (
    "The clerk quickly began to explain the important results. ",
    "He paid 1,250.50 dollars on 2026-11-22 (see ISO9001 and a.b/c?d=1)! ",
    "Perhaps the big problem will soon finish.\n\n",
    "HUGE mistakes happened; nobody noticed\n",
)
texts = st.one_of(
    st.lists(st.sampled_from(CHINESE), max_size=30).map("".join),
    st.lists(st.sampled_from(ENGLISH), max_size=20).map("".join),
    st.lists(st.sampled_from(CHINESE + ENGLISH), max_size=30).map("".join),
    st.text(max_size=80),
)
strengths = st.floats(0.01, 0.5)
seeds = st.integers(0, 1000)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def numbers(text: str) -> Counter[str]:
    return Counter(NUMBERS.findall(text))


def is_subsequence(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(character in rest for character in part)


def bound(strength: float, total: int, longest: int) -> float:
    """The last item may pass the share, by its own length at most."""
    return strength * total + longest


# Each step


@given(texts, strengths, seeds)
def test_synonyms_bring_nothing_but_words_of_the_lexicon(text, strength, seed):
    changed, change = replace_words(text, strength, rng(seed), LEXICON, LEXICON.synonyms)
    before = [text[slice(*span)] for span in LEXICON.words(text)]
    assert change.total == count_characters(text)
    assert change.changed <= bound(strength, change.total, max(map(len, before), default=0))
    # Word by word, each is itself or one of its synonyms.
    position = last = 0
    for start, end in LEXICON.words(text):
        gap = text[last:start]
        assert changed.startswith(gap, position)
        position += len(gap)
        allowed = (text[start:end], *LEXICON.synonyms(text[start:end]))
        found = [
            word
            for word in sorted(allowed, key=len, reverse=True)
            if changed[position : position + len(word)].lower() == word.lower()
        ]
        assert found
        position += len(found[0])
        last = end
    assert changed[position:] == text[last:]


@given(texts, strengths, seeds)
def test_deletion_only_removes_and_leaves_a_word(text, strength, seed):
    changed, change = delete_words(text, strength, rng(seed), LEXICON)
    words = [text[slice(*span)] for span in LEXICON.words(text)]
    assert is_subsequence(changed, text)
    assert change.changed <= bound(strength, change.total, max(map(len, words), default=0))
    assert count_characters(text) - count_characters(changed) == change.changed
    assert bool(words) <= bool(list(LEXICON.words(changed)))


@given(texts, strengths, seeds)
def test_swap_keeps_every_character_and_every_word(text, strength, seed):
    changed, change = swap_neighbours(text, strength, rng(seed), LEXICON)
    assert Counter(changed) == Counter(text)
    assert Counter(re.findall(r"[A-Za-z]+", changed)) == Counter(re.findall(r"[A-Za-z]+", text))
    marks = re.compile(r"[^，、；。！？：…\n]+")
    assert marks.sub("", changed) == marks.sub("", text)
    longest = max((len(line) for line in re.split(r"[。\n]", text)), default=0)
    assert change.changed <= bound(strength, change.total, longest)


sentences_with_numbers = st.lists(st.sampled_from(CHINESE + ENGLISH), max_size=20).map("".join)


@given(st.sampled_from(("deletion", "swap", "synonyms")), sentences_with_numbers, seeds)
def test_no_step_on_words_touches_a_number(step, text, seed):
    augmenter = Augmenter(AugmentationSettings(augmentation=(step,), augmentation_strength=0.5), 1)
    copy, _ = augmenter.augment(Document(str(seed), text))
    assert numbers(copy.text) == numbers(text)


@given(st.text("年3五，a 元万、.", max_size=30), seeds)
def test_neither_is_a_number_joined_with_another(text, seed):
    for step in (delete_words, swap_neighbours):
        changed, _ = step(text, 0.5, rng(seed), LEXICON)
        assert numbers(changed) == numbers(text)


@given(texts, strengths, seeds)
def test_dropout_leaves_whole_sentences_out_but_never_all(text, strength, seed):
    changed, change = drop_sentences(text, strength, rng(seed))
    sentences = split_sentences(text)
    assert change.total == len(sentences)
    assert change.changed <= bound(strength, len(sentences), 1)
    assert bool(changed.strip()) == bool(text.strip())
    assert is_subsequence(changed, text)
    assert len(split_sentences(changed)) <= len(sentences)


@given(st.lists(st.sampled_from(CHINESE[:2] + CHINESE[4:] + ENGLISH[:3])), strengths, seeds)
def test_shuffle_keeps_the_sentences_each_with_its_end(parts, strength, seed):
    text = "".join(parts)
    changed, change = shuffle_sentences(text, strength, rng(seed))
    sentences = split_sentences(text)
    assert Counter(split_sentences(changed)) == Counter(sentences)
    assert change.changed <= bound(strength, len(sentences), 2)


@given(texts, strengths, seeds)
def test_shuffle_keeps_every_character_of_any_text(text, strength, seed):
    changed, _ = shuffle_sentences(text, strength, rng(seed))
    assert Counter(changed) == Counter(text)


def test_a_heading_stays_above_its_text():
    text = "".join(
        f"第{n}条\n本条规定甲方的义务之{n}。乙方应当履行义务{n}。" for n in "甲乙丙丁戊己"
    )
    for seed in range(20):
        changed, _ = shuffle_sentences(text, 0.5, rng(seed))
        headings = [line for line in changed.splitlines() if line.endswith("条")]
        assert sum(map(len, headings)) >= 18
        assert changed.startswith("第甲条\n")
        assert changed != text


# What the steps do, by example


def shares(step: str, text: str, strength: float = 0.2) -> float:
    settings = AugmentationSettings(augmentation=(step,), augmentation_strength=strength)
    augmenter = Augmenter(settings, seed=1)
    report = AugmentationReport()
    for number in range(30):
        report.add(augmenter.augment(Document("d", text), number)[1])
    return report.steps[step].changed / report.steps[step].total


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("corpus", [CHINESE[:1], ENGLISH[:1]])
def test_each_step_changes_the_share_that_was_asked_for(step, corpus):
    # Different sentences, or exchanging them would change nothing.
    parts = [
        corpus[0].replace("经常", f"经常{n}次").replace("clerk", f"clerk {n}") for n in range(40)
    ]
    expected = 0.2
    assert shares(step, "".join(parts)) == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("step", STEPS)
def test_a_short_text_is_changed_now_and_then(step):
    text = (
        "双方经常讨论，问题非常重要。我们立即支付。" if step != "swap" else "甲方付款，乙方交货。"
    )
    found = shares(step, text, strength=0.1)
    assert 0 < found < 0.5


def test_the_case_of_a_word_is_kept():
    lexicon = SynonymLexicon([("big", "large")])
    changed, _ = replace_words("Big BIG big", 0.5, rng(0), lexicon, lexicon.synonyms)
    for seed in range(20):
        changed, _ = replace_words("Big. BIG big", 0.5, rng(seed), lexicon, lexicon.synonyms)
        assert set(changed.split()) <= {"Big.", "Large.", "BIG", "LARGE", "big", "large"}
        assert changed.split()[0] in {"Big.", "Large."}
        assert changed.split()[1] in {"BIG", "LARGE"}


def test_a_capital_inside_a_sentence_is_a_name():
    lexicon = SynonymLexicon([("new", "fresh")])
    for seed in range(20):
        changed, _ = replace_words(
            "He went to New York. New laws.", 0.5, rng(seed), lexicon, lexicon.synonyms
        )
        assert changed.startswith("He went to New York. ")


def test_clauses_change_places_but_quotations_stay_whole():
    seen = set()
    for seed in range(40):
        changed, _ = swap_neighbours(
            CHINESE[2] + "因工作需要，他去了北京。", 0.5, rng(seed), LEXICON
        )
        seen.add(changed)
    assert seen == {CHINESE[2] + "他去了北京，因工作需要。"}


def test_deleted_words_leave_no_double_blanks():
    for seed in range(40):
        changed, _ = delete_words("the cat, sat on a mat. The end", 0.5, rng(seed), LEXICON)
        assert "  " not in changed
        assert " ," not in changed
        assert " ." not in changed


# The lexicon


def words(text: str, lexicon: SynonymLexicon = LEXICON) -> list[str]:
    return [text[slice(*span)] for span in lexicon.words(text)]


def test_the_longest_chinese_word_is_taken():
    lexicon = SynonymLexicon([("经济", "商业"), ("经济学", "商学"), ("经", "历")])
    assert words("经济学家和经济", lexicon) == ["经济学", "家", "和", "经济"]


def test_numbers_addresses_and_names_with_digits_are_no_words():
    text = "他付3.5万元 ISO9001 a@b.org x/y snake_case well-known don't 二〇二六年三十一起"
    assert words(text, SynonymLexicon([("一起", "一同")])) == [
        *("他", "付", "元", "well-known", "don't", "年", "起")
    ]


@pytest.mark.parametrize("unit", ["a", "_", "a.", "a%%", "-", "1", "国", "'", "a_"])
def test_r24_words_are_found_in_linear_time(unit):
    # Quadratic time would take hours.
    assert sum(1 for _ in LEXICON.words(unit * 300_000)) <= 300_000


def test_the_lexicon_that_comes_along_is_of_both_languages():
    assert len(LEXICON) > 1_000
    assert "马上" in LEXICON.synonyms("立即")
    assert "fast" in LEXICON.synonyms("Quick")
    assert LEXICON.synonyms("被告") == ()
    # A word is none of its own synonyms, and has no blank or comma left from the file.
    for word in ("立即", "quick", "大约"):
        assert word not in LEXICON.synonyms(word)
        assert all(re.fullmatch(r"[^\s,]+", other) for other in LEXICON.synonyms(word))


@pytest.mark.parametrize(
    ("content", "word", "expected"),
    [
        ("快 迅速 飞快\n", "快", ("迅速", "飞快")),
        ("as soon as possible\tpromptly\n", "promptly", ("as soon as possible",)),
        ("# of speed\nquick, fast ,rapid\n\n", "fast", ("quick", "rapid")),
        ("高兴、开心\n", "开心", ("高兴",)),
        ("Aa01A01= 人 士\nAa01A02# 狗 猫\nAa01A03@ 我\n", "人", ("士",)),
        ("\ufeffquick fast\n", "quick", ("fast",)),
        ("big large\nbig grand\n", "big", ("large", "grand")),
    ],
)
def test_a_lexicon_of_the_user_is_read(tmp_path, content, word, expected):
    path = tmp_path / "近义词.txt"
    path.write_text(content, encoding="utf-8")
    assert SynonymLexicon.load(str(path)).synonyms(word) == expected
    assert SynonymLexicon.load(str(path)).synonyms("狗") == ()


@pytest.mark.parametrize("content", [None, b"", b"alone\n# quick fast\n", "快 迅速".encode("gbk")])
def test_a_lexicon_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    settings = AugmentationSettings(augmentation=("synonyms",), synonyms=str(path))
    with pytest.raises(InputError) as error:
        Augmenter(settings, seed=1)
    assert str(path) in error.value.found
    assert error.value.fix


# Copies of documents


def all_steps(**settings) -> AugmentationSettings:
    return AugmentationSettings(**{"augmentation": STEPS} | settings)


def corpus(count: int = 12) -> list[Document]:
    return [
        Document(
            f"文{n}",
            "".join(CHINESE[(n + i) % 5] + ENGLISH[(n + i) % 4] for i in range(8)),
            label="甲" if n % 2 else "乙",
            text_pair="".join(CHINESE[:2]) * 4 if n % 3 == 0 else None,
            fields={"group": str(n)},
        )
        for n in range(count)
    ]


@given(texts, seeds, st.integers(1, 3))
def test_a_copy_has_the_label_and_a_name_of_its_own(text, seed, number):
    document = Document("d", text, labels=("甲", "乙"), fields={"group": "7"})
    copy, _ = Augmenter(all_steps(), seed).augment(document, number)
    assert copy.id == f"d#{number}"
    assert (copy.label, copy.labels, copy.fields) == (None, ("甲", "乙"), {"group": "7"})
    assert copy.text_pair is None
    assert bool(copy.text.strip()) == bool(text.strip())


def test_a_copy_follows_the_seed_the_document_and_its_number_but_not_the_order():
    documents = corpus()
    settings = all_steps(augmentation_copies=2)
    forward = augment_documents(documents, settings, 1)
    backward = augment_documents(documents[::-1], settings, 1)
    assert {d.id: d.text for d in forward} == {d.id: d.text for d in backward}
    other = augment_documents(documents, settings, 2)
    assert {d.text for d in forward[12:]}.isdisjoint({d.text for d in other[12:]})
    texts_of = {d.id: d.text for d in forward}
    assert texts_of["文1#1"] != texts_of["文1#2"]


def test_the_second_text_is_changed_too_and_not_like_the_first():
    text = "".join(CHINESE) * 4
    copy, changes = Augmenter(all_steps(), 1).augment(Document("d", text, text_pair=text))
    assert len({text, copy.text, copy.text_pair}) == 3
    alone = Augmenter(all_steps(), 1).augment(Document("d", text))[1]
    assert changes["deletion"].total > 1.8 * alone["deletion"].total


class Listening(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def test_the_documents_stay_and_their_copies_follow_and_the_user_is_told():
    documents = [*corpus(), Document("empty", "", "甲"), Document("number", "12345", "乙")]
    reporter = Listening()
    found = augment_documents(documents, all_steps(augmentation_copies=2), 1, reporter)
    assert found[:14] == tuple(documents)
    assert {d.id for d in found[14:]} == {f"文{n}#{copy}" for n in range(12) for copy in (1, 2)}
    assert [d.label for d in found[14:26]] == [d.label for d in documents[:12]]
    (line,) = reporter.lines
    assert "24 changed copies of 14 training documents" in line
    assert "4 more came out as the document was" in line
    for step in STEPS:
        assert step in line


def test_without_steps_nothing_happens():
    reporter = Listening()
    documents = corpus(3)
    assert augment_documents(documents, AugmentationSettings(), 1, reporter) == tuple(documents)
    assert reporter.lines == []


def test_steps_run_in_the_order_of_the_settings():
    _, changes = Augmenter(all_steps(augmentation=("swap", "deletion")), 1).augment(corpus()[0])
    assert list(changes) == ["swap", "deletion"]


def test_neighbours_are_asked_for_words_that_the_lexicon_lacks_once_each():
    asked: list[str] = []

    def neighbours(word: str) -> list[str]:
        asked.append(word)
        return {"cat": ["dog", "Cat", " "], "猫": ["狗"]}.get(word, [])

    settings = AugmentationSettings(augmentation=("synonyms",), augmentation_strength=0.5)
    augmenter = Augmenter(settings, 1, neighbours=neighbours)
    document = Document("d", "猫 cat zebra quickly " * 20)
    copy, _ = augmenter.augment(document)
    assert "dog" in copy.text
    assert "狗" in copy.text
    assert sorted(asked) == ["cat", "zebra", "猫"]
    assert set(copy.text.split()) <= {"猫", "狗", "cat", "dog", "zebra", "quickly"} | set(
        LEXICON.synonyms("quickly")
    )


def test_back_translation_comes_first_and_is_counted():
    settings = AugmentationSettings(augmentation=("deletion",))
    augmenter = Augmenter(settings, 1, back_translate=lambda text: text.replace("猫", "狗"))
    copy, changes = augmenter.augment(Document("d", "猫坐在垫子上。" * 20))
    assert "猫" not in copy.text
    assert list(changes) == ["back_translation", "deletion"]
    assert changes["back_translation"].changed == 140
    alone = Augmenter(AugmentationSettings(), 1, back_translate=lambda text: "狗")
    found = augment_documents([Document("d", "猫")], AugmentationSettings(), 1, augmenter=alone)
    assert [(d.id, d.text) for d in found] == [("d", "猫"), ("d#1", "狗")]


def test_a_back_translation_that_loses_the_text_is_refused():
    augmenter = Augmenter(AugmentationSettings(), 1, back_translate=lambda text: " ")
    with pytest.raises(InputError) as error:
        augmenter.augment(Document("文7", "猫", text_pair="猫"))
    assert "'文7'" in error.value.found
