from __future__ import annotations

import pytest
import tiny_tokenizers

from longform.text.vocabulary import train_tokenizer


def same_tokens(tokenizer, one: str, other: str) -> bool:
    first, second = tokenizer.encode([one, other])
    return bool(first) and first == second


def test_every_han_character_kana_and_mark_is_a_token_of_its_own():
    tokenizer = train_tokenizer(["合同合同合同かなかなかな。。。！！！"] * 5, 400)
    assert [len(ids) for ids in tokenizer.encode(["合同", "かな", "。！", "合同。"])] == [
        2,
        2,
        2,
        3,
    ]


def test_frequent_words_become_few_tokens():
    tokenizer = train_tokenizer(["the claim of the parties"] * 3, 300)
    assert [len(ids) for ids in tokenizer.encode(["the", "parties", "claim"])] == [1, 1, 1]


def test_case_and_full_width_make_no_difference():
    tokenizer = tiny_tokenizers.bag()
    assert same_tokens(tokenizer, "ＴＨＥ　ＣＯＵＲＴ", "the court")
    assert same_tokens(tokenizer, "２０２４", "2024")


def test_a_character_of_no_training_text_is_unknown_and_keeps_its_place():
    tokenizer = tiny_tokenizers.bag()
    assert tokenizer.encode(["龘"]) == [[tokenizer.unknown_id]]
    assert tokenizer.offsets(["合龘同"]) == [[(0, 1), (1, 2), (2, 3)]]


def test_the_vocabulary_stays_within_its_size_and_keeps_the_commonest_characters():
    rare = "".join(chr(0x4E00 + index) for index in range(500))
    tokenizer = train_tokenizer([rare + "龙龙龙", "凤凤"], 300)
    assert tokenizer.vocabulary_size == 300
    assert tokenizer.unknown_id not in tokenizer.encode(["龙凤"])[0]


def test_r47_the_same_corpus_gives_the_same_vocabulary():
    # More characters than fit, all equally frequent: which stay must not be left to chance.
    corpus = ["".join(chr(0x4E00 + index) for index in range(900)), "abc abd"]
    assert len({train_tokenizer(corpus, 300).digest for _ in range(4)}) == 1


def test_an_iterator_is_read_once():
    assert train_tokenizer(iter(tiny_tokenizers.CORPUS), 300).digest == (
        tiny_tokenizers.bag().digest
    )


def test_r21_lone_surrogates_in_the_corpus_are_read_as_replacement_characters():
    tokenizer = train_tokenizer(["长\ud83d文\x00"], 300)
    assert tokenizer.unknown_id not in tokenizer.encode(["长\ufffd文"])[0]


@pytest.mark.parametrize("corpus", [[], [""], [" \n"]])
def test_a_corpus_without_characters_leaves_everything_unknown(corpus):
    tokenizer = train_tokenizer(corpus, 300)
    assert tokenizer.vocabulary_size == 2
    assert tokenizer.frame() == ([], [])
    assert tokenizer.encode(["长"]) == [[tokenizer.unknown_id]]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    ["ab" * 250_000, "a" * 500_000, "长" * 500_000],
    ids=["pairs", "letters", "Han"],
)
def test_r24_a_text_without_a_break_costs_linear_work(text):
    # The trainer is quadratic in the length of a word: as one word this takes hours.
    assert train_tokenizer([text], 400).vocabulary_size < 40


def test_no_special_token_frames_a_text():
    assert tiny_tokenizers.bag().frame("query: ")[1] == []
