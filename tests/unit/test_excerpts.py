from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from longform.text.excerpts import EXCERPT_CHARACTERS, make_excerpt


@given(st.text(max_size=1_500))
def test_an_excerpt_is_one_short_line_that_can_be_written_and_seen(text):
    excerpt = make_excerpt(text)
    assert len(excerpt) <= EXCERPT_CHARACTERS + 1
    assert excerpt.isprintable()
    excerpt.encode("utf-8")


def test_an_excerpt_says_when_it_is_not_all():
    assert make_excerpt("  第一条\n\n 正文 ") == "第一条 正文"
    assert make_excerpt("字" * 201) == "字" * 200 + "…"
    assert make_excerpt("abc\u202edef\ud800") == "abc def"
