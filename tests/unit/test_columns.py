from __future__ import annotations

import pytest

from longform.config import DataSettings
from longform.data.files.columns import ColumnChoice
from longform.data.files.headers import find_headerless_columns
from longform.data.readers import read_documents
from longform.errors import InputError


@pytest.mark.parametrize(
    ("header", "text", "label"),
    [
        ("sentence,labels", "sentence", "labels"),
        ("内容,标签", "内容", "标签"),
        ("Text,LABEL", "Text", "LABEL"),
        ("id,content,category,source", "content", "category"),
        ("正文;类别", "正文", "类别"),
        ("text,class", "text", "class"),
    ],
)
def test_r07_well_known_names_are_taken_and_said(tmp_path, header, text, label):
    path = tmp_path / "a.csv"
    names = header.replace(";", ",").split(",")
    separator = ";" if ";" in header else ","
    path.write_text(f"{header}\n" + separator.join(f"{name}的值" for name in names), "utf-8")
    result = read_documents(path)
    assert (result.documents[0].text, result.documents[0].label) == (f"{text}的值", f"{label}的值")
    assert (result.report.text_column, result.report.label_column) == (text, label)
    said = [f"column '{text}' read as the text"] if text != "text" else []
    assert set(said) <= set(result.report.notes)


def test_r07_two_that_could_be_meant_are_listed_and_none_is_taken(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("content,sentence,label\n一,二,甲\n", "utf-8")
    with pytest.raises(
        InputError, match=r"must have the column 'text'.*Nearest: content, sentence"
    ):
        read_documents(path)
    assert read_documents(path, DataSettings(text_column="sentence")).documents[0].text == "二"


def test_r07_a_name_that_was_asked_for_is_never_replaced(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("content,label\n一,甲\n", "utf-8")
    with pytest.raises(InputError, match=r"'contents'.*Nearest: content\."):
        read_documents(path, DataSettings(text_column="contents"))
    columns = ColumnChoice(DataSettings(label_column="content"), labelled=True)
    columns.settle(("content", "data"))
    assert (columns.text, columns.label) == ("data", "content")


def test_r07_keys_of_json_rows_are_learned_on_the_way(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"label": "甲"}\n{"内容": "一", "label": "甲"}\n{"text": "二"}\n', "utf-8")
    report = read_documents(path).report
    assert report.text_column == "内容"
    assert [row.row for row in report.skipped] == [1, 3]


@pytest.mark.parametrize("name", ["text_pair_column", "group_column", "time_column"])
def test_other_columns_must_be_there(tmp_path, name):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n一,甲\n", "utf-8")
    with pytest.raises(InputError, match="must have the column 'missing'"):
        read_documents(path, DataSettings(**{name: "missing"}))


# --- no header ------------------------------------------------------------------------------------

ROWS = [
    ("今年粮食产量增长。", "农业"),
    ("主队攻入一球。", "体育"),
    ("新米上市, 价格平稳。", "农业"),
]
ROWS += [("客队失利。", "体育"), ("玉米价格下降。", "农业")]


@pytest.mark.parametrize("order", [1, -1], ids=["text-first", "label-first"])
@pytest.mark.parametrize("name", ["train.txt", "train.tsv"])
def test_headerless_files_of_paddlenlp_are_read_and_said(tmp_path, order, name):
    path = tmp_path / name
    path.write_text("\n".join("\t".join(row[::order]) for row in ROWS), "utf-8")
    result = read_documents(path)
    assert [(document.text, document.label) for document in result.documents] == ROWS
    assert any(note.startswith("no header") for note in result.report.notes)


@pytest.mark.parametrize(
    "rows",
    [
        [*ROWS[:2], ("另一行。", "经济"), ("再一行。", "法律")],  # labels that do not come back
        ROWS[:3],  # too few
        [(*row, "x") for row in ROWS],
        [(row[1], row[1]) for row in ROWS],
        [("正文", "类型"), *ROWS],  # a header of other names
    ],
)
def test_headerless_files_that_are_not_clear_get_the_error_about_the_header(tmp_path, rows):
    assert find_headerless_columns(rows) is None
    path = tmp_path / "a.txt"
    path.write_text("\n".join("\t".join(row) for row in rows), "utf-8")
    with pytest.raises(InputError, match="a file without a header needs one"):
        read_documents(path)
