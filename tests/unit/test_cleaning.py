from __future__ import annotations

import re
import time
import unicodedata
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from longform import extras
from longform.config import CleaningStep, SegmentSettings
from longform.errors import MissingExtraError
from longform.text.cleaning import CleanedText, Cleaner

STEPS = get_args(CleaningStep)
FRAGMENTS = [
    *(
        "<p>",
        "</p>",
        "<br/>",
        "<!-- x -->",
        "<!--",
        "<script>a<b</script>",
        "<b>",
        "&amp;",
        "&#20013;",
    ),
    *(
        "<",
        ">",
        "&",
        "a < b",
        "https://a.b/c?d=1。",
        "www.a.cn",
        "me@a.org",
        "@",
        "臺灣軟體",
        "頭髮",
    ),
    *(
        "，",
        "Ａ１％",
        "\u3000",
        "㎏",
        "e\u0301",
        "\u0301",
        "ｶﾞ",
        "\u1100\u1161\u11a8",
        "가",
        "\u0344",
    ),
    *("\x00", "\x9f", "\u200b", "\ufeff", "\u202e", "\u200d", "👩\u200d👩", "\ud83d", "\r\n", "\n"),
    *(
        "1,000",
        "12,345,678.90",
        "1,2,3",
        "!!!",
        "……",
        "......",
        "————",
        "____",
        "★★",
        "=====",
        "\ue000",
    ),
    *(
        "第3页\n",
        "- 4 -\n",
        "公司年度报告\n",
        "公司年度报告\n公司年度报告\n",
        " \n",
        "$#_",
        "+",
        "☀",
        "№",
    ),
]
texts = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4), st.text("<a&;1,. !", max_size=8)),
    max_size=16,
).map("".join)
every_step = pytest.mark.parametrize("step", STEPS)


def clean(step: CleaningStep | tuple[CleaningStep, ...], text: str, **knobs: str) -> CleanedText:
    steps = (step,) if isinstance(step, str) else step
    return Cleaner(SegmentSettings(cleaning=steps, **knobs)).clean(text)


def readable(text: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def kept_places(given_text: str, cleaned: CleanedText) -> set[int]:
    """Where, in the text as given, characters stand that came through unchanged."""
    spans = [cleaned.original_span(i, i + 1) for i in range(len(cleaned.text))]
    return {
        start
        for character, (start, end) in zip(cleaned.text, spans, strict=True)
        if end - start == 1 and given_text[start] == character
    }


@every_step
@given(text=texts)
@settings(deadline=None)
def test_each_character_points_at_those_it_came_from_and_the_rest_is_unchanged(step, text):
    cleaned = clean(step, text)
    before = readable(text)
    spans = [cleaned.original_span(i, i + 1) for i in range(len(cleaned.text))]
    for start, end in spans:
        assert 0 <= start < end <= len(text)
    for one, other in pairwise(spans):
        assert one == other or one[1] <= other[0]
    lost = len(text) - len(kept_places(before, cleaned))
    assert set(cleaned.changes) <= {step}
    # A group of characters that NFKC joins counts as a whole.
    if step == "unicode_nfkc":
        assert lost <= cleaned.changes.get(step, 0)
    else:
        assert lost == cleaned.changes.get(step, 0)
    assert (cleaned.text == before) == (not cleaned.changes)


@given(text=texts, first=st.integers(0, 60), last=st.integers(0, 60))
@settings(deadline=None)
def test_spans_after_all_steps_are_ordered_and_inside_the_text(text, first, last):
    cleaned = clean(STEPS, text)
    start, end = sorted((min(first, len(cleaned.text)), min(last, len(cleaned.text))))
    span = cleaned.original_span(start, end)
    assert 0 <= span[0] <= span[1] <= len(text)
    offsets = np.arange(len(cleaned.text) + 1)
    begins, ends = cleaned.original_starts(offsets), cleaned.original_ends(offsets)
    assert (np.diff(begins) >= 0).all()
    assert (np.diff(ends) >= 0).all()
    assert (begins <= ends).all()
    # What is cut at both ends of the cleaned text is the whole text, but for what was removed
    # before its first character.
    assert begins[-1] == ends[-1] == len(text)
    for index in range(len(cleaned.text)):
        tight = cleaned.original_span(index, index + 1)
        assert begins[index] <= tight[0] < tight[1] <= ends[index + 1]


@pytest.mark.parametrize("step", sorted(set(STEPS) - {"html"}))
@given(text=texts)
@settings(deadline=None)
def test_a_clean_text_stays_as_it_is(step, text):
    # But for HTML, where `&amp;lt;` stands for the text `&lt;`.
    once = clean(step, text).text
    assert clean(step, once).text == once


@given(text=texts | st.text())
@example(text="\u1100\u1161\u11a8가\u11a8e\u0323\u0301ｶﾞ㎏\u0344")
@settings(deadline=None)
def test_nfkc_is_that_of_unicode(text):
    assert clean("unicode_nfkc", text).text == unicodedata.normalize("NFKC", readable(text))


def test_nfkc_is_that_of_unicode_for_each_character_that_it_may_change():
    letters = [
        chr(code)
        for code in range(0x110000)
        if code % 64 == 0
        or unicodedata.combining(chr(code))
        or unicodedata.normalize("NFKC", chr(code)) != chr(code)
        or unicodedata.category(chr(code))[0] == "M"
        or 0x1100 <= code < 0x1200
    ]
    letters = [letter for letter in letters if not "\ud800" <= letter <= "\udfff"]
    for frame in ("{}", "a{}\u0301", "\u1100{}\u11a8"):
        text = " x ".join(frame.format(letter) for letter in letters)
        assert clean("unicode_nfkc", text).text == unicodedata.normalize("NFKC", text)


def expected_width(character: str) -> str:
    if character == "\u3000":
        return " "
    if "！" <= character <= "～" and character not in "！（），：；？":
        return chr(ord(character) - 0xFEE0)
    return character


@given(text=texts | st.text(st.characters(min_codepoint=0xFF00, max_codepoint=0xFFEF)))
def test_width_changes_full_width_forms_alone(text):
    assert clean("width", text).text == "".join(map(expected_width, readable(text)))


@given(text=texts | st.text(st.characters(categories=["Cc", "Cf", "Zs"])))
@settings(deadline=None)
def test_r22_control_characters_become_blanks_and_what_has_no_width_vanishes(text):
    cleaned = clean("control_characters", text)
    gone = re.sub(
        "[\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]",
        "",
        readable(text),
    )
    white = {"\t", "\n", "\r"}
    assert cleaned.text == "".join(
        " " if unicodedata.category(c) == "Cc" and c not in white else c for c in gone
    )


@given(text=st.text(st.characters(categories=["S", "P", "L", "N", "Z", "M"])) | texts)
@settings(deadline=None)
def test_symbols_never_drops_letters_digits_marks_or_white_space(text):
    before = readable(text)
    kept = kept_places(before, clean("symbols", text))
    for place in set(range(len(before))) - kept:
        assert (
            unicodedata.category(before[place])[0] == "S"
            or before[place] in "@#*_\\※†‡¶•"
            or (unicodedata.category(before[place]) == "Co")
        )
        assert before[place] not in "@#$_"


TABLE = [
    ("html", "<p>甲</p>乙", "\n甲\n乙"),
    ("html", "a<br/>b<BR>c", "a\nb\nc"),
    ("html", "重<b>要</b>", "重要"),
    ("html", "<td>1</td><td>2</td>", " 1  2 "),
    ("html", '<a href="x>y">z</a><o:p></o:p>', "z"),
    ("html", "甲<!-- <b> --><script>if(a<b){}</script><STYLE >p{}</style >乙", "甲乙"),
    ("html", "<!DOCTYPE html><?xml version='1.0'?><![if !mso]>x<![endif]>", "x"),
    ("html", "甲<!-- 没完 <b>乙</b>", "甲<!-- 没完 乙"),
    ("html", "<script>没完", "没完"),
    ("html", "<script src='a'/>文", "文"),
    ("html", "&lt;b&gt; &amp;amp; &#20013;&#x6587;", "<b> &amp; 中文"),
    ("html", "&nosuch; ?a=1&copy=2 AT&T", None),
    ("html", "a < b > c, a<b and c>d, 3<5", None),
    ("html", "<名> <name> <me@a.org> <http://a.b> <3", None),
    ("urls", "见https://a.org/b?c=d&e#f。后", "见 。后"),
    ("urls", "(http://a.org/b), WWW.A.com.", "( ),  ."),
    ("urls", "写信到me.x+y@mail.a-b.cn，谢谢", "写信到 ，谢谢"),
    ("urls", "mailto:me@a.org! HTTPS://A.ORG/ Http://a.b ftp://a.b/c", " !      "),
    ("urls", "@a.org http://u@h.cn/x a@b.c@d.e", "@a.org    @d.e"),
    ("urls", "a@b @张三 www. http:// 3://4 wwww.a", None),
    ("unicode_nfkc", "ＡＢ①㎏ﬁe\u0301，", "AB1kgfi\xe9,"),
    ("width", "ＡＢ１２．５％＋＝～＠\u3000", "AB12.5%+=~@ "),
    ("width", "，！？：；（）。“”￥ｶ", None),
    ("control_characters", "甲\x00乙\x0b\x85\x7f丙\t\r\n", "甲 乙   丙\t\r\n"),
    ("control_characters", "\ufeff甲\u200b\u2060乙\u202e\u2066", "甲乙"),
    ("control_characters", "👩\u200d👩 می\u200cخواهم ☀\ufe0f", None),
    ("traditional_to_simplified", "臺灣軟體，頭髮發展 abc 简体", "台湾软体，头发发展 abc 简体"),
    ("numbers", "1,000 12,345,678.90 999,999", "1000 12345678.90 999999"),
    ("numbers", "RMB1,000元，2,000，-3,000.5", "RMB1000元，2000，-3000.5"),
    ("numbers", "1,2,3 1，000 1,00 1,0000 0,123", None),
    ("numbers", "1234,567 5,1,000 0.1,000 1,000,00", None),
    ("numbers", "010-8888-1234 20240101 110101199001011234", None),
    ("repeated_punctuation", "好！！！！ 啊？？？ ===== ____ -----", "好！ 啊？ = _ -"),
    ("repeated_punctuation", "... ...... …… ……… —— ————", "... ... …… …… —— ——"),
    ("repeated_punctuation", "a.. 好！！ !?!? ★★★★★ 😂😂😂 aaaa 1111", None),
    ("repeated_punctuation", "$$$$ ─────", "$$$$ ─"),
    ("boilerplate", "某司报告\n甲\n某司报告 \r\n乙\n  某司报告\n丙", "某司报告\n甲\n乙\n丙"),
    ("boilerplate", "某公司报告\n甲\n某公司报告\n乙", None),
    ("boilerplate", "答：\n答：\n答：\n\n\n\n", None),
    ("boilerplate", "甲\n- 3 -\n第 4 页\n第5页 共 10 页\nPage 6 of 9\n乙\n— 7 —", "甲\n乙\n"),
    ("boilerplate", "12\n第三页\n第3页的内容\nPage one\n-3", None),
    ("symbols", "★★重点 a+b=c 37°C ※注", " 重点 a b c 37 C  注"),
    ("symbols", "@#$_ 😂☀© “好”、％＋〒 ㎡№℃ 50%&a/b (1)", None),
    ("symbols", "a*b\\c¥€\ue000", "a b c "),
]  # fmt: skip


@pytest.mark.parametrize(("step", "text", "expected"), TABLE)
def test_what_each_step_does_and_leaves_alone(step, text, expected):
    assert clean(step, text).text == (text if expected is None else expected)


def test_the_symbols_that_stay_are_those_of_the_settings():
    assert clean("symbols", "@#$_+★", keep_symbols="+").text == " + "
    assert clean("symbols", "^]-\\", keep_symbols="^").text == "^]- "
    assert clean("symbols", "a*b", keep_symbols="").text == "a b"


def test_steps_run_in_their_own_order_and_each_is_counted():
    cleaned = clean(("symbols", "numbers", "html"), "<p>１ &#49;,000★")
    assert cleaned.text == "\n１ 1000 "
    assert list(cleaned.changes.items()) == [("html", 8), ("numbers", 1), ("symbols", 1)]
    # Through all three alignments: the digits, then the star.
    text = "<p>１ &#49;,000★"
    assert text[slice(*cleaned.original_span(3, 7))] == "&#49;,000"
    assert text[slice(*cleaned.original_span(7, 8))] == "★"


def test_the_default_cleans_control_characters_alone_and_none_cleans_nothing():
    text = "<p>甲\x00乙</p>"
    assert Cleaner(SegmentSettings()).clean(text).text == "<p>甲 乙</p>"
    assert Cleaner(SegmentSettings(cleaning=())).clean(text).text == text


def test_places_are_kept_as_breakpoints_not_for_each_character():
    cleaned = clean("html", "字" * 100_000 + "<b>" + "字" * 100_000)
    assert cleaned.original_span(150_000, 150_001) == (150_003, 150_004)
    assert sum(len(alignment.starts) for alignment in cleaned._alignments) == 1
    assert not clean("width", "Ａ" * 1000).is_shifted


def test_a_sentence_that_changes_length_is_simplified_character_by_character(monkeypatch):
    cleaner = Cleaner(SegmentSettings(cleaning=("traditional_to_simplified",)))
    simplifier = cleaner._steps[0][1]
    table = {"長": "长", "髮": "发", "長髮": "长头发"}
    monkeypatch.setattr(
        simplifier, "_convert", lambda text: re.sub("長髮|長|髮", lambda m: table[m[0]], text)
    )
    cleaned = cleaner.clean("長。長髮。")
    assert cleaned.text == "长。长发。"
    assert cleaned.changes == {"traditional_to_simplified": 3}
    assert not cleaned.is_shifted


def test_a_step_whose_library_is_missing_is_refused_at_the_start(monkeypatch):
    monkeypatch.setattr(extras, "is_available", lambda library: False)
    with pytest.raises(MissingExtraError, match=r"traditional_to_simplified.*'opencc'.*\[zh\]"):
        Cleaner(SegmentSettings(cleaning=("traditional_to_simplified",)))


ATTACKS = [
    *("<", "&", '<a "', "<a '", "<!--", "<script>", "</script", "<b ", "&#1", "http://", "www."),
    *("a@", "a", "@", ".", "-", "1", ",", "1,", "1,000,", "1,000", "e\u0301", "\u0301", "㎏", "Ａ"),
    *("\x00", "\u200b", "臺", "！", "_", "=", "★", "\n", "第1页\n", "报告报告\n", " ", "\n ", "第"),
]


@every_step
@pytest.mark.parametrize("unit", ATTACKS, ids=ascii)
@pytest.mark.timeout(60)
def test_r103_the_work_is_linear_in_the_length_of_the_text(step, unit):
    cleaner = Cleaner(SegmentSettings(cleaning=(step,)))
    cleaner.clean(unit)
    seconds = []
    for characters in (20_000, 200_000):
        text = unit * (characters // len(unit))
        started = time.process_time()
        cleaner.clean(text)
        seconds.append(time.process_time() - started)
    # Ten times the text; quadratic work would be a hundred times as long.
    assert seconds[1] <= 30 * max(seconds[0], 0.004)


@every_step
@pytest.mark.timeout(60)
def test_r24_a_million_equal_characters_are_cleaned(step):
    cleaner = Cleaner(SegmentSettings(cleaning=(step,)))
    for character in "长a.\u200b":
        cleaned = cleaner.clean(character * 1_000_000)
        assert len(cleaned.text) in {0, 1, 3, 1_000_000}
