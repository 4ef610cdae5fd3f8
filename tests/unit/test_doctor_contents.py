"""Files and characters: skipped rows, encodings, scripts, mojibake, cleaning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longform.config import RunConfig
from longform.data.doctor.characters import examine_texts
from longform.data.doctor.cleanliness import examine_cleaning
from longform.data.doctor.damage import make_damage_detector, make_damage_repairer
from longform.data.doctor.files import FileAccount, examine_files
from longform.data.doctor.scripts import count_kinds, describe_writing
from longform.data.readers import ReadReport, SkippedRow
from longform.reporting import Reporter
from longform.types import Document

SIMPLIFIED = "我们在学习中文信息处理技术，今天天气很好，这个问题还没有解决。"
TRADITIONAL = "我們在學習中文資訊處理技術，今天天氣很好，這個問題還沒有解決。"
GERMAN = "Der Bär läuft über die Straße und trinkt süßen Kaffee für später."


def documents_of(*texts):
    return [Document(f"d{number}", text, "a") for number, text in enumerate(texts)]


def kinds_of(texts):
    _, findings = examine_texts(documents_of(*texts), texts, Reporter())
    return {finding.kind: finding for finding in findings}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (SIMPLIFIED, "Chinese, simplified"),
        (TRADITIONAL, "Chinese, traditional"),
        ("これは日本語の文章です。漢字とかなが混ざっています。", "Japanese"),
        ("이것은 한국어 문장입니다.", "Hangul"),
        (GERMAN, "Latin"),
        ("Это русский текст.", "Cyrillic"),
        ("12, 34 !?", "no letters"),
    ],
)
def test_the_main_writing_of_a_text(text, name):
    assert describe_writing(count_kinds(text)[None]).main == (name,)


@given(st.text())
def test_every_character_is_counted_once(text):
    assert count_kinds(text).sum() == len(text)


def test_documents_in_two_scripts_are_told_apart():
    texts = [SIMPLIFIED, SIMPLIFIED + GERMAN, GERMAN]
    writing = describe_writing(np.stack([count_kinds(text) for text in texts]))
    assert writing.mixed == (1,)
    assert sum(writing.documents.values()) == 3


@pytest.mark.parametrize(
    "damaged",
    [
        GERMAN.encode().decode("cp1252"),
        GERMAN.encode().decode("latin-1"),
        SIMPLIFIED.encode().decode("latin-1"),
        SIMPLIFIED[:20].encode().decode("gb18030"),
        SIMPLIFIED.encode().decode("gb18030", "replace"),
        TRADITIONAL.encode().decode("gb18030", "replace"),
    ],
)
def test_mojibake_is_seen(damaged):
    assert make_damage_detector()(damaged)


@pytest.mark.parametrize(
    "sound",
    [
        SIMPLIFIED,
        TRADITIONAL,
        GERMAN,
        "张三·李四——“引用”……《书名》①②③ ±5℃ α、β",
        "これは日本語の文章です。漢字とかなが混ざっています。",
        "plain ASCII",
        "",
    ],
)
def test_sound_text_is_left_alone(sound):
    assert not make_damage_detector()(sound)
    assert make_damage_repairer()(sound) == sound


@pytest.mark.parametrize(
    ("meant", "damaged"),
    [
        (GERMAN, GERMAN.encode().decode("cp1252")),
        (SIMPLIFIED, SIMPLIFIED.encode().decode("latin-1")),
        (SIMPLIFIED[:20], SIMPLIFIED[:20].encode().decode("gb18030")),
    ],
)
def test_mojibake_is_undone_line_by_line(meant, damaged):
    repaired = make_damage_repairer()(f"{SIMPLIFIED}\n{damaged}\r\nend")
    assert repaired == f"{SIMPLIFIED}\n{meant}\r\nend"


def test_r22_lost_and_private_characters_are_counted_with_their_documents():
    found = kinds_of(
        [
            "fine and long enough to be one",
            "lost \ufffd\ufffd here, as you can see",
            "\ue000 bullet of an old font",
        ]
    )
    assert found["replacement_characters"].examples == ("d1",)
    assert "2 U+FFFD" in found["replacement_characters"].what
    assert found["private_use_characters"].examples == ("d2",)
    assert "short_texts" not in found


def test_r09_skipped_rows_are_told_by_reason_with_their_numbers():
    skipped = tuple(SkippedRow(row, "label is missing") for row in range(3, 12))
    report = ReadReport(Path("a.csv"), "csv", "gb18030", None, 20, (*skipped, SkippedRow(2, "x")))
    file = FileAccount("training", report, 10)
    findings = examine_files([file])
    assert [finding.count for finding in findings] == [9, 1]
    assert findings[0].examples == ("3", "4", "5", "6", "7")
    assert file.as_json()["skipped"][0] == {
        "reason": "label is missing",
        "count": 9,
        "rows": ["3", "4", "5", "6", "7"],
    }


def test_r01_an_encoding_that_is_only_likely_is_told():
    report = ReadReport(
        Path("a.csv"), "csv", "big5", None, 20, encoding_certainty=0.7, label_column="label"
    )
    (finding,) = examine_files([FileAccount("training", report, 20)])
    assert finding.kind == "uncertain_encoding"
    assert "70 %" in finding.what


def test_cleaning_that_would_change_many_documents_is_proposed_beside_what_is_on():
    texts = [f"<p>Some paragraph number {number}</p>" for number in range(20)]
    shares, (finding,) = examine_cleaning(texts, RunConfig())
    assert shares["html"] == 1
    assert shares["control_characters"] == 0
    assert finding.proposes == {"cleaning": ["html", "control_characters"]}


def test_cleaning_that_changes_nothing_is_not_proposed():
    shares, findings = examine_cleaning([SIMPLIFIED] * 20, RunConfig())
    assert findings == []
    assert shares["html"] == 0
