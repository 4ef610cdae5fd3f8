from __future__ import annotations

import csv
import gzip
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longform.config import DataSettings
from longform.data.files import delimited, json_rows
from longform.data.files.sources import open_source
from longform.data.readers import DocumentReader, ReadResult, iterate_rows, read_documents
from longform.errors import InputError, MissingExtraError
from longform.types import Document

ROWS = "text,label\n粮食产量稳步增长。,农业\n主队攻入制胜一球。,体育\n"
PAIRS = [("粮食产量稳步增长。", "农业"), ("主队攻入制胜一球。", "体育")]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pairs(result: ReadResult) -> list[tuple[str, str | None]]:
    return [(document.text, document.label) for document in result.documents]


def refuse(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_documents(path, DataSettings(**options))
    assert caught.value.exit_status == 2
    assert str(path) in str(caught.value)
    return str(caught.value)


# --- encodings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "reported"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("gb18030", "gb18030"),
        ("gbk", "gb18030"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_r01_r02_encoding_is_detected_and_reported(tmp_path, encoding, reported, packed):
    content = ROWS.encode(encoding)
    if packed:
        path = write(tmp_path, "数据 😀.csv.gz", gzip.compress(content))
    else:
        path = write(tmp_path, "数据 😀.csv", content)
    result = read_documents(path)
    assert pairs(result) == PAIRS
    assert result.report.encoding == reported
    assert result.report.compression == ("gzip" if packed else None)
    assert reported in result.report.summary()


def test_r01_utf8_that_gb18030_would_accept_stays_utf8(tmp_path):
    text = "研究人员提出了一种新的长文本分类方法"
    assert text.encode().decode("gb18030") != text  # no error: trying it first would garble
    path = write(tmp_path, "a.csv", f"text,label\n{text},科技\n")
    assert pairs(read_documents(path)) == [(text, "科技")]


def test_r01_gb18030_is_found_however_late_it_shows(tmp_path):
    ascii_rows = f"{'plain ' * 500},x\n" * 1000
    content = b"text,label\n" + ascii_rows.encode() + "农业新闻,农业\n".encode("gb18030")
    path = write(tmp_path, "late.csv", content)
    *_, last = DocumentReader(path)
    assert (last.text, last.label) == ("农业新闻", "农业")


@pytest.mark.parametrize(
    ("first", "last"), [("utf-8", "gb18030"), ("gb18030", "utf-8")], ids=["utf8", "gb18030"]
)
def test_r03_mixed_encodings_name_the_odd_line(tmp_path, first, last):
    rows = "text,label\n" + "研究人员提出了新方法。,科技\n" * 4
    content = rows.encode(first) + "央行下调存款准备金率。,经济\n".encode(last)
    assert "line 6" in refuse(write(tmp_path, "mixed.csv", content))


def test_r03_one_broken_byte_is_named(tmp_path):
    content = bytearray(("text,label\n" + "研究人员提出了新方法。,科技\n" * 9).encode())
    position = content.rindex("方".encode())
    content[position] = 0xFF
    message = refuse(write(tmp_path, "broken.csv", bytes(content)))
    assert "line 10" in message
    assert f"byte {position}" in message


def test_traditional_characters_in_gbk_are_read(tmp_path):
    text = "臺灣與香港的報紙使用繁體中文，這裡有許多常見的句子與詞語，請勿亂碼。" * 5
    path = write(tmp_path, "a.csv", f"text,label\n{text},新聞\n".encode("gbk"))
    assert pairs(read_documents(path)) == [(text, "新聞")]


# --- delimited files ---------------------------------------------------------------------------


@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=("Cs",)), max_size=20).map("文".__add__),
            st.sampled_from(["甲", "乙,\n", ' "丙"']),
        ),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_r04_whatever_the_csv_module_writes_comes_back(tmp_path, rows):
    path = tmp_path / "written.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label"))
        writer.writerows(rows)
    assert pairs(read_documents(path)) == rows


def test_r04_unclosed_quote_names_the_line_where_it_opens(tmp_path):
    content = ROWS + '"没有结束的引号,经济\n' + "后面的行,农业\n" * 3
    message = refuse(write(tmp_path, "a.csv", content))
    assert "line 4" in message
    assert "never closes" in message


def test_r04_quote_that_swallows_rows_up_to_the_next_quote_is_told(tmp_path):
    content = ROWS + '"没有结束的引号,经济\n后面的行,农业\n"正常",农业\n'
    assert "line 4" in refuse(write(tmp_path, "a.csv", content))


def test_unclosed_quote_takes_no_more_memory_than_the_longest_field(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "LONGEST_FIELD", 1000)
    path = write(tmp_path, "a.csv", ROWS + '"开,农业\n' + "后面的行,农业\n" * 500)
    assert "1,000 characters" in refuse(path)


def test_r05_field_longer_than_the_csv_default(tmp_path):
    text = "长" * 400_000
    assert pairs(read_documents(write(tmp_path, "a.csv", f"text,label\n{text},农业\n"))) == [
        (text, "农业")
    ]


@pytest.mark.parametrize(
    ("name", "separator", "format_name", "noted"),
    [
        ("a.csv", ",", "csv", False),
        ("a.csv", "\t", "tsv", True),
        ("a.csv", ";", "csv", True),
        ("a.tsv", "\t", "tsv", False),
        ("a.tsv", ",", "csv", True),
        ("a.txt", "|", "csv", True),
    ],
)
def test_r19_separator_is_told_by_content(tmp_path, name, separator, format_name, noted):
    content = f'标题{separator}label{separator}text\n"一,二;三"{separator}农业{separator}正文\n'
    result = read_documents(write(tmp_path, name, content))
    assert pairs(result) == [("正文", "农业")]
    assert result.report.format == format_name
    assert any("separated by" in note for note in result.report.notes) == noted


def test_tsv_with_bare_quotes_keeps_them(tmp_path):
    content = 'label\ttext\n农业\t"早稻" 收割\n体育\t他说 "好"\n'
    result = read_documents(write(tmp_path, "a.tsv", content))
    assert [text for text, _ in pairs(result)] == ['"早稻" 收割', '他说 "好"']
    assert any("quotes kept" in note for note in result.report.notes)


def test_tsv_with_csv_quoting_is_unquoted(tmp_path):
    content = 'label\ttext\n农业\t"他说 ""好""\n就走了"\n体育\t第二行\n'
    result = read_documents(write(tmp_path, "a.tsv", content))
    assert pairs(result) == [('他说 "好"\n就走了', "农业"), ("第二行", "体育")]


def test_all_line_ends_in_one_file(tmp_path):
    content = "text,label\r\n一行,甲\r\n二行,乙\n三行,丙\r四行,丁"
    result = read_documents(write(tmp_path, "a.csv", content))
    assert [label for _, label in pairs(result)] == ["甲", "乙", "丙", "丁"]


def test_r22_characters_that_look_like_line_ends_and_nul_stay_in_the_text(tmp_path):
    text = "甲\x00\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029乙"
    path = write(tmp_path, "a.csv", f'text,label\n"{text}",农业\n')
    assert pairs(read_documents(path)) == [(text, "农业")]


def test_ragged_rows_are_listed_and_never_shift_a_label(tmp_path):
    content = "text,label\n前半,后半,农业\n" + "好的一行,体育\n" + "短行\n"
    report = read_documents(write(tmp_path, "a.csv", content)).report
    assert [(entry.row, entry.reason) for entry in report.skipped] == [
        (1, "more fields than the header (3 instead of 2)"),
        (3, "label is missing"),
    ]
    assert report.rows == 3


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_r07_missing_column_lists_those_found_and_the_flag(tmp_path, name):
    content = "全篇,种\n正文,农业\n"
    if name == "a.jsonl":
        content = '{"全篇": "正文", "种": "农业"}\n'
    path = write(tmp_path, name, content)
    message = refuse(path)
    for part in ("'全篇'", "'种'", "--text-column", "--label-column"):
        assert part in message
    result = read_documents(path, DataSettings(text_column="全篇", label_column="种"))
    assert pairs(result) == [("正文", "农业")]


def test_duplicate_column_is_refused_only_when_it_is_read(tmp_path):
    assert "several columns named 'text'" in refuse(
        write(tmp_path, "a.csv", "text,text,label\n一,二,甲\n")
    )
    path = write(tmp_path, "b.csv", "text,note,note,label\n一,x,y,甲\n")
    assert pairs(read_documents(path)) == [("一", "甲")]


# --- JSON ---------------------------------------------------------------------------------------


def test_jsonl_lines_end_at_lf_only_and_rows_are_line_numbers(tmp_path):
    content = '{"text": "甲\u2028乙\u0085丙", "label": "a"}\r\n\n{"text": "丁", "label": "b"}'
    result = read_documents(write(tmp_path, "a.jsonl", content))
    assert [(document.id, document.text) for document in result.documents] == [
        ("1", "甲\u2028乙\u0085丙"),
        ("3", "丁"),
    ]
    assert "1 blank lines passed over" in result.report.notes


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
def test_r17_array_and_lines_are_told_by_content(tmp_path, name):
    rows = [{"text": text, "label": label} for text, label in PAIRS]
    array = read_documents(write(tmp_path, name, json.dumps(rows, indent=1)))
    lines = read_documents(write(tmp_path, name, "\n".join(map(json.dumps, rows))))
    assert pairs(array) == pairs(lines) == PAIRS
    assert (array.report.format, lines.report.format) == ("json", "jsonl")
    assert bool(array.report.notes) == (name != "a.json")
    assert bool(lines.report.notes) == (name != "a.jsonl")


@given(
    rows=st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=60), max_size=12),
    numbers=st.lists(st.one_of(st.integers(), st.floats(allow_nan=False)), max_size=12),
    indent=st.sampled_from([None, 0, 2]),
    block=st.integers(1, 40),
)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_array_is_the_same_read_in_blocks_of_any_size(
    tmp_path, monkeypatch, rows, numbers, indent, block
):
    monkeypatch.setattr(json_rows, "_BLOCK", block)
    values = [{"text": text, "more": [text]} for text in rows] + numbers
    path = write(tmp_path, "a.json", json.dumps(values, indent=indent, ensure_ascii=False))
    read = list(iterate_rows(path))
    assert [row.values for row in read[: len(rows)]] == values[: len(rows)]
    assert [row.number for row in read] == list(range(1, len(values) + 1))
    assert all(row.fault for row in read[len(rows) :])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('[\n{"text": "一", "label": "a"},\n{"text": 二}\n]', "line 3"),
        ('[\n{"text": "一", "label": "a"}\n{"text": "二"}\n]', "line 3"),
        ('[\n{"text": "一", "label": "a"},\n{"text": "二', "line 3"),
        ('[\n{"text": "一", "label": "a"},\n', "line 3"),
        ('[\n{"text": "一", "label": "a"}', "line 2"),
        ('[{"text": "一", "label": "a"}]\n[]', "line 2"),
    ],
    ids=["bad-value", "no-comma", "cut-string", "cut-after-comma", "cut-end", "two-arrays"],
)
def test_r17_bad_array_names_the_line(tmp_path, content, line):
    assert line in refuse(write(tmp_path, "a.json", content))


@pytest.mark.parametrize(
    "bad", ['{"text": "cut', "text,label", '{"text": }', "[" * 100_000, "1" * 5000]
)
def test_r17_bad_line_is_named(tmp_path, bad):
    content = '{"text": "一", "label": "a"}\n{"text": "二", "label": "b"}\n' + bad
    assert "line 3" in refuse(write(tmp_path, "a.jsonl", content))


def test_r08_r09_unusable_rows_are_listed_with_reasons(tmp_path):
    lines = [
        '{"text": 12345, "label": "a"}',
        '{"text": null, "label": "a"}',
        '{"text": NaN, "label": "a"}',
        '{"text": ["一"], "label": "a"}',
        '{"text": "好", "label": null}',
        '{"text": "好", "label": NaN}',
        '{"text": "好", "label": {"a": 1}}',
        '{"text": "好", "label": " \u3000"}',
        '{"text": "好"}',
        "[]",
        '{"text": "重", "label": "a", "label": "b"}',
        '{"text": "\u200b\ufeff \u3000\u00a0\\u0000", "label": "a"}',
        '{"text": "", "label": "a"}',
        '{"text": "可用", "label": "a"}',
    ]
    result = read_documents(write(tmp_path, "a.jsonl", "\n".join(lines)))
    assert result.documents == (Document("14", "可用", "a"),)
    reasons = {entry.row: entry.reason for entry in result.report.skipped}
    assert sorted(reasons) == list(range(1, 14))
    assert reasons[1] == "text is a number, not a string"
    assert reasons[3] == reasons[2] == "text is missing"
    assert reasons[5] == reasons[6] == reasons[9] == "label is missing"
    assert reasons[7] == "label is an object, not a string"
    assert reasons[10] == "not a JSON object but a list"
    assert reasons[11] == "key named twice: label"
    assert reasons[12] == "text is only white space"
    assert "13 of 14 rows skipped" in result.report.summary()
    assert "\n" not in result.report.summary()


def test_r13_labels_are_strings_as_written(tmp_path):
    labels = ["1", '"1"', "1.0", "true", '"true"', '"010"', '" a"', "-1"]
    lines = [f'{{"text": "第{n}行", "label": {label}}}' for n, label in enumerate(labels)]
    result = read_documents(write(tmp_path, "a.jsonl", "\n".join(lines)))
    assert [label for _, label in pairs(result)] == [
        *("1", "1", "1.0", "true", "true", "010", " a", "-1")
    ]
    assert "4 labels are numbers or booleans, read as their JSON text" in result.report.notes
    path = write(tmp_path, "b.csv", "text,label\nNaN,NA\nnull,None\n1e5,true\n010,010\n")
    assert pairs(read_documents(path)) == [
        ("NaN", "NA"),
        ("null", "None"),
        ("1e5", "true"),
        ("010", "010"),
    ]


def test_r21_lone_surrogates_are_replaced_and_pairs_combined(tmp_path):
    lines = [
        r'{"text": "a\ud83d", "label": "x"}',
        r'{"text": "\ud83d\ude00", "label": "x"}',
        r'{"text": "\ude00\ud83d", "label": "y\ud800", "id": "\udfff"}',
    ]
    result = read_documents(write(tmp_path, "a.jsonl", "\n".join(lines)))
    assert [text for text, _ in pairs(result)] == ["a\ufffd", "😀", "\ufffd\ufffd"]
    for document in result.documents:
        "".join((document.id, document.text, document.label or "")).encode()
    assert any(note.startswith("2 rows with lone surrogates") for note in result.report.notes)


# --- parquet ------------------------------------------------------------------------------------


def test_parquet_rows_types_and_nulls(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    table = pyarrow.table(
        {"text": ["一", None, "", "四"] * 40, "label": [0, 1, 1, None] * 40, "id": range(160)}
    )
    parquet.write_table(table, path)
    result = read_documents(path.rename(tmp_path / "named.csv"))
    assert len(result.documents) == 40
    assert result.documents[1] == Document("4", "一", "0")
    assert result.report.format == "parquet"
    assert result.report.encoding is None
    assert len(result.report.skipped) == 120
    assert "--text-column" in refuse(tmp_path / "named.csv", text_column="body")


def test_parquet_damaged_or_packed_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    assert "must be whole" in refuse(write(tmp_path, "a.parquet", b"PAR1" + b"\x07" * 200))
    packed = write(tmp_path, "a.parquet.gz", gzip.compress(b"PAR1" + b"\x07" * 200))
    assert "inside gzip" in refuse(packed)


def test_parquet_without_pyarrow_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr("longform.extras.is_available", lambda library: False)
    with pytest.raises(MissingExtraError, match=r"pip install 'longform\[data\]'"):
        read_documents(write(tmp_path, "a.parquet", b"PAR1" + b"\x07" * 200))


# --- the file itself ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "no documents"),
        ("a.csv", b" \n\n", "no documents"),
        ("a.csv", b"text,label\n", "no documents"),
        ("a.csv", b"text,label\n,x\n", "none usable: 1 text is empty (row 1)"),
        ("a.jsonl", b"\n", "no documents"),
        ("a.json", b"[]", "no documents"),
        ("a.json", b'["x"]', "not a JSON object but a string"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "no documents"),
        ("a.csv", b"PK\x03\x04rest", "Excel"),
        ("a.csv", b"\xd0\xcf\x11\xe0rest", "encrypted"),
        ("a.tfrecord", b"\x10" + b"\x00" * 40, "record 1: the checksum of its length"),
        ("a.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(32)) * 9, "binary"),
    ],
)
def test_r19_files_without_documents_are_refused(tmp_path, name, content, words):
    assert words in refuse(write(tmp_path, name, content))


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_r19_gzip_cut_short(tmp_path, cut):
    rows = "".join(f"第{n * 7919 % 1000}行内容{n * n},农业\n" for n in range(3000))
    packed = gzip.compress(f"text,label\n{rows}".encode())
    assert "damaged or cut short" in refuse(write(tmp_path, "a.csv.gz", packed[:-cut]))


def test_gzip_with_a_changed_byte(tmp_path):
    packed = bytearray(gzip.compress(ROWS.encode()))
    packed[-6] ^= 1
    assert "damaged" in refuse(write(tmp_path, "a.csv.gz", bytes(packed)))


def test_gzip_is_told_by_content(tmp_path):
    assert pairs(read_documents(write(tmp_path, "a.csv", gzip.compress(ROWS.encode())))) == PAIRS
    plain = read_documents(write(tmp_path, "a.csv.gz", ROWS))
    assert pairs(plain) == PAIRS
    assert "named .gz but not packed" in plain.report.notes


def test_r18_missing_file_and_folder(tmp_path):
    assert "no file at" in refuse(tmp_path / "none.csv")
    assert "no .txt file" in refuse(tmp_path)
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    assert "not a regular file" in refuse(fifo)


def test_r18_file_that_changes_between_detection_and_reading(tmp_path):
    path = write(tmp_path, "a.csv", ROWS)
    reader = DocumentReader(path)
    path.write_bytes(b"text,label\n" + "长文本分类".encode("gb18030") + b",x\n")
    with pytest.raises(InputError, match="must not change"):
        list(reader)
    path.unlink()
    with pytest.raises(InputError, match="readable"):
        list(reader)


# --- documents and report ----------------------------------------------------------------------


def test_ids_come_from_the_column_or_the_row(tmp_path):
    path = write(tmp_path, "a.csv", "id,text,label\nx7,一,甲\n,二,乙\n")
    assert [document.id for document in read_documents(path).documents] == ["x7", "2"]


def test_unlabelled_rows_need_no_label(tmp_path):
    path = write(tmp_path, "a.csv", "text\n一\n二\n")
    result = read_documents(path, labelled=False)
    assert result.documents == (Document("1", "一"), Document("2", "二"))
    assert "'label'" in refuse(path)


def test_r16_r20_repeats_are_kept_and_noted(tmp_path):
    content = "id,text,label\n1,同文,甲\n2,同文,乙\n3,同文,甲\n3,别文,甲\n"
    result = read_documents(write(tmp_path, "a.csv", content))
    assert len(result.documents) == 4
    assert "2 documents repeat the text of an earlier one" in result.report.notes
    assert "1 texts have contradicting labels (ids 2)" in result.report.notes
    assert "1 documents repeat the id of an earlier one" in result.report.notes


def test_reader_can_be_iterated_again(tmp_path):
    reader = DocumentReader(write(tmp_path, "a.csv", ROWS + ",空\n"))
    first = list(reader)
    assert list(reader) == first
    assert (reader.report.rows, len(reader.report.skipped)) == (3, 1)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_r06_memory_does_not_grow_with_the_file(tmp_path, name):
    text = "长文档" * 1000  # 9 kB as UTF-8
    path = tmp_path / name
    line = json.dumps({"text": text, "label": "甲"})
    with path.open("w", encoding="utf-8") as stream:
        if name == "a.csv":
            stream.write("text,label\n" + f"{text},甲\n" * 1500)
        elif name == "a.jsonl":
            stream.write(f"{line}\n" * 1500)
        else:
            stream.write("[" + f"{line},\n" * 1499 + line + "]")
    tracemalloc.start()
    try:
        assert sum(1 for _ in DocumentReader(path)) == 1500
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The file has 13 MB or more; the sample for the separator and a block of bytes are the most.
    assert peak < 6_000_000


@pytest.mark.shared
def test_hostile_files_give_rows_or_one_clear_error(shared_folder):
    rows = {
        **{"array.json": 4, "array_named.jsonl": 4, "conflicting_labels.csv": 6},
        **{"control_chars.csv": 5, "duplicate_rows.csv": 12, "emoji_zwj.csv": 3},
        **{"empty_text.csv": 4, "excel_formula.csv": 6, "extra_columns.csv": 4},
        **{"field_over_131072.csv": 5, "gb18030_nobom.csv": 5, "lone_surrogate.jsonl": 4},
        **{"label_only_in_dev_dev.csv": 5, "label_only_in_dev_train.csv": 4},
        **{"missing_label.csv": 4, "mixed_label_types.jsonl": 5, "mixed_line_endings.csv": 4},
        **{"nan_strings.csv": 9, "nul_byte.csv": 5, "one_class.csv": 4, "one_row_class.csv": 21},
        **{"plain.tsv": 4, "quoted_newlines.csv": 3, "ragged_rows.csv": 4, "semicolon.csv": 4},
        **{"separators_in_line.jsonl": 2, "tab_named_csv.csv": 4, "utf16le_bom.csv": 4},
        **{"three_million_chars.jsonl.gz": 1, "utf16le_nobom.csv": 4, "utf8_bom.csv": 4},
        **{"valid.tfrecord": 4, "whitespace_only.csv": 4, "wrong_types.jsonl": 2},
    }
    faults = {
        **{"mixed_encodings.csv": "line 6", "no_header.csv": "--text-column"},
        **{"header_only.csv": "no documents", "zero_bytes.csv": "no documents"},
        **{"duplicate_columns.csv": "'text'", "unclosed_quote.csv": "line 6"},
        **{"truncated_last_line.jsonl": "line 5", "cut_short.jsonl.gz": "damaged"},
        **{"bad_data_crc.tfrecord": "record 2", "bad_length_crc.tfrecord": "record 2"},
        **{"cut_short.tfrecord": "record 4"},
    }
    folder = shared_folder / "data" / "bad"
    names = {path.name for path in folder.iterdir()} - {"README.md", ".gitattributes"}
    assert names == rows.keys() | faults.keys()
    for name, count in rows.items():
        result = read_documents(folder / name)
        assert len(result.documents) == count, name
        assert result.report.rows == count + len(result.report.skipped), name
    for name, words in faults.items():
        assert words in refuse(folder / name), name
    field = read_documents(folder / "field_over_131072.csv").documents[0]
    assert len(field.text) == 150_000
    assert open_source(folder / "gb18030_nobom.csv").encoding == "gb18030"
