from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longform.text.sentences import MAX_SENTENCE_CHARACTERS, sentence_boundaries


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in pairwise(sentence_boundaries(text))]


@pytest.mark.parametrize(
    "expected",
    [
        ["第一句。", "第二句！", "第三句？", "第四句；", "第五句"],
        ["他说：“走吧。”", "她走了。"],
        ["他说：「走吧！」』", "完"],
        ["（见附件。）", "下一句"],
        ["真的吗？！", "真的。。。", "完"],
        ["等等……", "后来呢？"],
        ["It ends. ", "It goes on! ", "Does it? ", "Yes"],
        ['He said "go." ', "She went."],
        ["(See the annex.) ", "Next"],
        ["Wait... ", "what?! ", "No"],
        ["One line\n", "another line\n", "last"],
        ["标题\n\n　　", "正文。\n", "尾"],
        ["Windows\r\n", "lines\r\n"],
        ["\n\n", "after leading line ends"],
        ["Mixed.", "中文。", "English. ", "完"],
    ],
    ids=lambda parts: parts[0].strip() or "leading",
)
def test_a_sentence_ends_after_its_mark_what_closes_it_and_white_space(expected):
    assert sentences("".join(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "圆周率约为3.14159",
        "version 1.2.3b",
        "https://example.org/a.html?x=1&y=2",
        "someone@mail.example.org",
        "file.tar.gz",
        "a?b=c",
        "左边，右边、上边：下边",
        "no mark at all",
        " 　 ",
    ],
)
def test_points_inside_numbers_names_and_addresses_end_nothing(text):
    assert sentences(text) == [text]


def test_an_empty_text_has_no_sentence():
    assert sentence_boundaries("") == [0]


@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                ["。", ".", "”", '"', "\n", " ", "……", "3.14", "？！", "a" * 700, "，"]
            ),
            st.text(max_size=4),
        )
    ).map("".join)
)
def test_boundaries_cover_the_text_in_order_and_no_sentence_is_too_long(text):
    boundaries = sentence_boundaries(text)
    assert boundaries[0] == 0
    assert boundaries[-1] == len(text)
    lengths = [end - start for start, end in pairwise(boundaries)]
    assert all(0 < length <= MAX_SENTENCE_CHARACTERS for length in lengths)


@given(st.lists(st.sampled_from(["第一句。", "二！”", "It is. ", "\n", "3.5", "字"])).map("".join))
def test_cutting_a_sentence_again_changes_nothing(text):
    # Ends depend only on what stands beside them, so a sentence read alone is one sentence.
    assert [sentences(part) for part in sentences(text)] == [[part] for part in sentences(text)]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("字" * 2500, MAX_SENTENCE_CHARACTERS),
        ("字" * 900 + "，" + "字" * 900, 901),
        ("a" * 800 + " " + "b" * 800, 801),
        ("a" * 800 + "," + "b" * 50 + " " + "c" * 800, 801),
        # A clause end in the first half would make a tiny sentence: it is not taken.
        ("字" * 100 + "，" + "字" * 2000, MAX_SENTENCE_CHARACTERS),
    ],
    ids=["unbroken", "clause", "word", "clause before word", "too early"],
)
def test_a_sentence_that_is_too_long_is_cut_at_the_best_place(text, first):
    assert sentence_boundaries(text)[1] == first


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "." * 1_000_000,
        "。" * 1_000_000,
        "”" * 1_000_000,
        "\n" * 1_000_000,
        " " * 1_000_000,
        ".”" * 500_000,
        "." * 1_000_000 + "a",
        "." + "”" * 1_000_000 + "a",
        "。" + "”" * 1_000_000 + "a",
        ".a" * 500_000,
        " \n" * 500_000,
        " " * 1_000_000 + "a",
        "，" * 1_000_000,
        "a" * 1_000_000,
        '."\n)' * 250_000,
    ],
    ids=lambda text: ascii(text[:3] + "_" + text[-1]),
)
def test_r103_a_megabyte_of_marks_is_cut_in_linear_time(text):
    boundaries = sentence_boundaries(text)
    assert boundaries[-1] == len(text)
    assert max(end - start for start, end in pairwise(boundaries)) <= MAX_SENTENCE_CHARACTERS
