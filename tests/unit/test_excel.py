from __future__ import annotations

import datetime
import gzip
import zipfile
from pathlib import Path
from typing import Any

import pytest

from longform.config import DataSettings
from longform.data.readers import DocumentReader, read_documents
from longform.errors import InputError, MissingExtraError

openpyxl = pytest.importorskip("openpyxl")


def write(path: Path, rows: list[list[Any]], *sheets: str) -> Path:
    book = openpyxl.Workbook()
    book.active.title = "数据"
    for row in rows:
        book.active.append(row)
    for sheet in sheets:
        book.create_sheet(sheet).append(["text", "label"])
    book.save(path)
    return path


def refuse(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_documents(path)
    return str(caught.value)


def test_cells_are_read_as_they_show(tmp_path):
    day = datetime.datetime(2024, 5, 1)
    rows = [
        ["text", "note", "label"],
        ["正文\n第二行", None, "农业"],
        [12345, None, 7],
        [2.5, None, True],
        [day, None, day.replace(hour=9)],
        ["=1+1", None, "公式"],
    ]
    result = read_documents(write(tmp_path / "名 字.xlsx", rows))
    assert [(d.text, d.label) for d in result.documents] == [
        ("正文\n第二行", "农业"),
        ("12345", "7"),
        ("2.5", "TRUE"),
        ("2024-05-01", "2024-05-01T09:00:00"),
    ]
    # A formula that no spreadsheet has calculated has no value.
    assert [(row.row, row.reason) for row in result.report.skipped] == [(5, "text is missing")]
    assert result.report.format == "xlsx"
    assert result.report.encoding is None


def test_only_the_first_sheet_is_read_and_the_others_are_named(tmp_path):
    result = read_documents(
        write(tmp_path / "a.xlsx", [["text", "label"], ["一", "甲"]], "二", "三")
    )
    assert len(result.documents) == 1
    assert "only the first sheet, '数据', is read, not '二', '三'" in result.report.notes


def test_blank_rows_errors_and_cells_beyond_the_header(tmp_path):
    rows = [
        [],
        ["text", "label"],
        ["一", "甲"],
        [None, None],
        ["二", "#N/A"],
        ["三", "乙", "多余"],
        ["四"],
    ]
    report = read_documents(write(tmp_path / "a.xlsx", rows)).report
    assert [(row.row, row.reason) for row in report.skipped] == [
        (2, "label is the error #N/A"),
        (3, "more fields than the header (3 instead of 2)"),
        (4, "label is missing"),
    ]
    assert "2 blank rows passed over" in report.notes


def test_it_is_told_by_content_and_chinese_headers_are_known(tmp_path):
    path = write(tmp_path / "a.xlsx", [["内容", "类别"], ["一", "甲"]]).rename(tmp_path / "a.csv")
    report = read_documents(path).report
    assert (report.format, report.text_column, report.label_column) == ("xlsx", "内容", "类别")


def test_a_carriage_return_and_an_escaped_one(tmp_path):
    # Excel writes the characters that XML cannot hold as _xHHHH_.
    path = write(tmp_path / "a.xlsx", [["text", "label"], ["一_x000D_\n二", "甲"]])
    assert read_documents(path).documents[0].text == "一\r\n二"


def test_zip_archives_of_other_kinds_are_refused_by_name(tmp_path):
    for name, words in (
        ("word/document.xml", "Word document"),
        ("xl/workbook.bin", "binary Excel"),
        ("data/train.csv", "zip archive of data/train.csv"),
    ):
        with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
            archive.writestr(name, "x")
        assert words in refuse(tmp_path / "a.xlsx")


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml"])
def test_damaged_workbooks_are_refused(tmp_path, part):
    path = write(tmp_path / "a.xlsx", [["text", "label"], *([["一" * 50, "甲"]] * 50)])
    content = path.read_bytes()
    path.write_bytes(content[:-200])
    assert "must be whole" in refuse(path)
    with zipfile.ZipFile(tmp_path / "whole.xlsx", "w"):
        pass
    path.write_bytes(content)
    with (
        zipfile.ZipFile(path) as archive,
        zipfile.ZipFile(tmp_path / "part.xlsx", "w") as broken,
    ):
        for name in archive.namelist():
            data = archive.read(name)
            broken.writestr(name, data[: len(data) // 2] if name == part else data)
    assert "must be whole" in refuse(tmp_path / "part.xlsx")


def test_packed_empty_and_without_the_library(tmp_path, monkeypatch):
    path = write(tmp_path / "a.xlsx", [["text", "label"], ["一", "甲"]])
    packed = tmp_path / "a.xlsx.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert "gzip -d a.xlsx.gz" in refuse(packed)
    assert "no documents" in refuse(write(tmp_path / "empty.xlsx", []))
    monkeypatch.setattr("longform.extras.is_available", lambda library: False)
    with pytest.raises(MissingExtraError, match=r"longform\[data\]"):
        read_documents(path)


def test_labels_in_one_cell_and_a_second_pass(tmp_path):
    path = write(tmp_path / "a.xlsx", [["text", "label"], ["一", "甲, 乙"], ["二", "甲"]])
    reader = DocumentReader(path, DataSettings(label_separator=","))
    assert [document.labels for document in reader] == [("甲", "乙"), ("甲",)]
    assert len(list(reader)) == 2
