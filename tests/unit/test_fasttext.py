from __future__ import annotations

import pytest

from longform.config import DataSettings
from longform.data.readers import read_documents
from longform.errors import InputError


def test_lines_with_one_label(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text(
        "__label__甲 第 一行\r\n\n__label__乙\t第二行\n没有标签\n__label__丙\n", "utf-8"
    )
    result = read_documents(path)
    assert [(d.id, d.text, d.label) for d in result.documents] == [
        ("1", "第 一行", "甲"),
        ("3", "第二行", "乙"),
    ]
    assert [(row.row, row.reason) for row in result.report.skipped] == [
        (4, "label is missing"),
        (5, "text is empty"),
    ]
    assert result.report.format == "fasttext"
    assert "1 blank lines passed over" in result.report.notes


def test_lines_with_several_labels(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("__label__甲 __label__乙 一 __label__丙\n__label__甲 二\n", "utf-8")
    result = read_documents(path)
    assert [(d.text, d.labels) for d in result.documents] == [
        ("一 __label__丙", ("甲", "乙")),
        ("二", ("甲",)),
    ]
    path.write_text("__label__甲 二\n__label__甲 __label__乙 一\n", "utf-8")
    with pytest.raises(InputError, match=r"row 2 has a list"):
        read_documents(path)
    several = DataSettings(problem_type="multi_label_classification")
    assert len(read_documents(path, several).documents) == 2
