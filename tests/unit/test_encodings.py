from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longform.config import DataSettings
from longform.data.files import census
from longform.data.files.encodings import find_codec
from longform.data.files.sources import open_source
from longform.data.readers import ReadResult, read_documents
from longform.errors import InputError

SIMPLIFIED = "研究人员提出了一种新的长文本分类方法，在法院判决书上的准确率比基线高出三个百分点。"
TRADITIONAL = "臺灣與香港的報紙使用繁體中文，這裡有許多常見的句子與詞語，請勿亂碼，謝謝各位讀者。"
JAPANESE = (
    "研究者は長い文書を分類する新しい方法を提案した。新聞の記事で評価したところ、精度が上がった。"
)
KOREAN = (
    "연구자들은 긴 문서를 분류하는 새로운 방법을 제안했다. 신문 기사로 평가한 결과 정확도가 올랐다."
)
RUSSIAN = "Исследователи предложили новый способ классификации длинных документов."
FRENCH = "Les chercheurs ont proposé une méthode élégante, déjà évaluée à côté des précédentes."


def write(folder: Path, text: str, encoding: str, rows: int = 3) -> Path:
    path = folder / "文件.csv"
    path.write_bytes(("text,label\n" + f'"{text}",a\n' * rows).encode(encoding))
    return path


def texts(result: ReadResult) -> list[str]:
    return [document.text for document in result.documents]


@pytest.mark.parametrize(
    ("text", "encoding", "codec"),
    [
        (SIMPLIFIED, "gbk", "gb18030"),
        (TRADITIONAL, "gbk", "gb18030"),
        (TRADITIONAL, "cp950", "cp950"),
        (TRADITIONAL + "嘅咗㗎", "big5hkscs", "big5hkscs"),
        (JAPANESE, "cp932", "cp932"),
        (JAPANESE, "euc_jp", "euc_jp"),
        (KOREAN, "euc_kr", "cp949"),
    ],
)
def test_r01_older_encodings_are_read_with_their_certainty(tmp_path, text, encoding, codec):
    result = read_documents(write(tmp_path, text, encoding))
    assert texts(result) == [text] * 3
    assert result.report.encoding == codec
    assert result.report.encoding_certainty is not None
    assert result.report.encoding_certainty >= (0.5 if codec == "gb18030" else 0.9)
    assert any(
        f"read as {codec}" in note and "--encoding overrides" in note
        for note in result.report.notes
    )


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(RUSSIAN, "cp1251"), (RUSSIAN, "koi8_r"), (RUSSIAN, "cp866"), (FRENCH, "cp1252")],
)
def test_r01_what_is_none_of_them_is_refused_and_never_garbled(tmp_path, text, encoding):
    path = write(tmp_path, text, encoding)
    with pytest.raises(InputError, match=r"UTF-8.*--encoding"):
        read_documents(path)
    assert texts(read_documents(path, DataSettings(encoding=encoding))) == [text] * 3


def test_r01_too_few_characters_to_tell_encodings_apart(tmp_path):
    path = write(tmp_path, "한국어", "euc_kr", rows=1)
    with pytest.raises(InputError, match=r"too few to tell .*gb18030"):
        read_documents(path)
    assert texts(read_documents(path, DataSettings(encoding="euc-kr"))) == ["한국어"]


def test_r01_the_whole_file_decides_and_not_its_beginning(tmp_path):
    path = write(tmp_path, SIMPLIFIED, "gb18030", rows=2500)
    content = path.read_bytes() + b"\xff\xff,a\n"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"line 2502 \(byte {len(content) - 5}\)"):
        read_documents(path)


@given(
    lines=st.lists(st.sampled_from([SIMPLIFIED, "plain", TRADITIONAL, "短", ""]), max_size=30),
    place=st.integers(0, 30),
    block=st.integers(8, 300),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_r03_a_utf8_line_in_gb18030_is_found_with_blocks_of_any_size(
    tmp_path, monkeypatch, lines, place, block
):
    monkeypatch.setattr(census, "_BLOCK", block)
    place = min(place, len(lines))
    encoded = [line.encode("gb18030") for line in [*lines, SIMPLIFIED, SIMPLIFIED]]
    # A longer line than the block is judged in pieces, so only whole ones have a certain count.
    encoded.insert(place, "全行是别的编码".encode())
    path = tmp_path / "mixed.csv"
    path.write_bytes(b"\n".join(encoded))
    with pytest.raises(InputError, match="encoding"):
        open_source(path)
    result = open_source(path, errors="replace")
    assert result.encoding in {"gb18030", "utf-8"}


def test_r03_a_broken_byte_in_a_line_longer_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(census, "_BLOCK", 64)
    content = ("text,label\n" + SIMPLIFIED * 20 + ",a\n").encode()
    position = len(content) - 30
    path = tmp_path / "a.csv"
    path.write_bytes(content[:position] + b"\xff" + content[position:])
    with pytest.raises(InputError, match=r"line 2 \(byte \d+\) is not UTF-8 while others are"):
        open_source(path)


# --- what the user says ---------------------------------------------------------------------------


def test_r03_strict_names_line_and_byte_of_the_encoding_that_was_given(tmp_path):
    path = write(tmp_path, SIMPLIFIED, "utf-8")
    content = path.read_bytes().replace("法院".encode(), b"\xe6\xb3\xff", 1)
    path.write_bytes(content)
    position = content.index(b"\xe6\xb3\xff")
    with pytest.raises(
        InputError, match=rf"line 2 \(byte {position}, 0xe6\) is not utf-8.*replace"
    ):
        read_documents(path, DataSettings(encoding="utf-8"))


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_r03_replace_counts_and_skip_leaves_rows_out(tmp_path, encoding):
    path = tmp_path / "a.csv"
    rows = [f"{SIMPLIFIED},甲\n".encode()] * 3
    rows[1] = rows[1].replace("法".encode(), b"\xff\xfe")
    path.write_bytes(b"text,label\n" + b"".join(rows))
    replaced = read_documents(path, DataSettings(encoding=encoding, encoding_errors="replace"))
    bad = SIMPLIFIED.replace("法", "\ufffd\ufffd")
    assert texts(replaced) == [SIMPLIFIED, bad, SIMPLIFIED]
    assert "1 rows with bytes that are not in the encoding" in replaced.report.notes
    count = 2 * SIMPLIFIED.count("法")
    assert f"{count} U+FFFD put for bytes that are not in the encoding" in replaced.report.notes
    skipped = read_documents(path, DataSettings(encoding=encoding, encoding_errors="skip"))
    assert texts(skipped) == [SIMPLIFIED, SIMPLIFIED]
    assert [(row.row, row.reason) for row in skipped.report.skipped] == [
        (2, "bytes that are not in the encoding")
    ]


def test_r03_mixture_can_be_read_by_its_larger_part(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{SIMPLIFIED},甲\n".encode("gb18030")] * 3 + [f"{SIMPLIFIED},甲\n".encode()]
    path.write_bytes(b"text,label\n" + b"".join(rows))
    result = read_documents(path, DataSettings(encoding_errors="replace"))
    assert result.report.encoding == "gb18030"
    assert texts(result)[:3] == [SIMPLIFIED] * 3


def test_encoding_that_python_does_not_know_gets_near_names(tmp_path):
    path = write(tmp_path, SIMPLIFIED, "gbk")
    with pytest.raises(InputError, match="gb18030"):
        read_documents(path, DataSettings(encoding="gb1803"))
    for codec in ("base64", "rot13", "\x00", "no such thing at all"):
        with pytest.raises(InputError, match="must be one that Python knows"):
            find_codec(codec)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_r02_a_mark_stays_out_of_the_header_when_the_encoding_is_given(tmp_path, encoding):
    path = tmp_path / "a.csv"
    content = "text,label\n正文,甲\n"
    path.write_bytes(content.encode("utf-8-sig" if encoding == "utf-8" else encoding))
    named = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(encoding, encoding)
    for name in (encoding, named):
        assert texts(read_documents(path, DataSettings(encoding=name))) == ["正文"]


def test_utf16_cut_within_a_character_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\n正文,甲\n".encode("utf-16")[:-1])
    with pytest.raises(InputError, match=r"line 2 \(byte \d+, 0x0a\) is not utf-16"):
        read_documents(path)
