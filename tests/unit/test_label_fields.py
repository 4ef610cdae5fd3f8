from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from longform.config import DataSettings
from longform.data.readers import DocumentReader, ReadResult, read_documents
from longform.errors import InputError

SINGLE, MULTI = "single_label_classification", "multi_label_classification"


def write(folder: Path, *labels: Any) -> Path:
    path = folder / "a.jsonl"
    rows = [{"text": f"第{n}行", "label": label} for n, label in enumerate(labels)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def read(folder: Path, *labels: Any, **options: Any) -> ReadResult:
    return read_documents(write(folder, *labels), DataSettings(**options))


def labels(result: ReadResult) -> list[Any]:
    return [document.labels for document in result.documents]


def reasons(result: ReadResult) -> list[tuple[int, str]]:
    return [(row.row, row.reason) for row in result.report.skipped]


def test_r17_lists_make_a_file_of_several_labels(tmp_path):
    result = read(tmp_path, ["甲", " 乙 ", "甲"], [], [2, True], ["丙"])
    assert labels(result) == [("甲", "乙"), (), ("2", "true"), ("丙",)]
    assert all(document.label is None for document in result.documents)
    assert result.report.problem_type == MULTI
    assert "any number of labels" in result.report.summary()


def test_r17_plain_strings_among_lists_are_lists_of_one_and_counted(tmp_path):
    result = read(tmp_path, ["甲", "乙"], "丙", "", None, "  ", ["甲", None], ["甲", ""])
    assert labels(result) == [("甲", "乙"), ("丙",)]
    assert "1 labels are plain strings among lists, read as lists of one" in result.report.notes
    assert reasons(result) == [
        (3, "label is missing"),
        (4, "label is missing"),
        (5, "label is empty"),
        (6, "label is missing in a list"),
        (7, "label is missing"),
    ]


def test_r17_a_list_after_single_labels_names_the_row_and_the_way_out(tmp_path):
    path = write(tmp_path, "甲", "乙", ["丙"])
    with pytest.raises(
        InputError, match=r"row 3 has a list.*--set problem_type=multi_label_classification"
    ):
        read_documents(path)
    result = read_documents(path, DataSettings(problem_type=MULTI))
    assert labels(result) == [("甲",), ("乙",), ("丙",)]
    # Asked for, so nothing to remark.
    assert not result.report.notes


def test_streaming_decides_as_reading_all_does(tmp_path):
    for sequence in ([["甲"], "乙"], ["甲", "乙"]):
        path = write(tmp_path, *sequence)
        reader = DocumentReader(path)
        streamed = [next(iter(reader))]
        assert streamed == list(read_documents(path).documents[:1])
        assert reader.report.problem_type == read_documents(path).report.problem_type


def test_single_asked_for_skips_lists_but_those_of_one(tmp_path):
    result = read(tmp_path, ["甲", "乙"], ["丙"], [], "丁", problem_type=SINGLE)
    assert [document.label for document in result.documents] == ["丙", "丁"]
    assert reasons(result) == [
        (1, "label is a list of 2, not a string"),
        (3, "label is a list of 0, not a string"),
    ]
    assert "1 labels are lists of one, read as that one" in result.report.notes


def test_r17_separator(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n一,甲| 乙|甲\n二,丙\n三,甲||乙\n四,|\n五,\n", encoding="utf-8")
    result = read_documents(path, DataSettings(label_separator="|"))
    assert labels(result) == [("甲", "乙"), ("丙",), ("甲", "乙")]
    assert reasons(result) == [(4, "label is empty"), (5, "label is missing")]
    assert "1 label fields with nothing between two separators" in result.report.notes
    assert result.report.problem_type == MULTI
    single = read_documents(path, DataSettings(label_separator="|", problem_type=SINGLE))
    assert single.documents[0].label == "甲| 乙|甲"


def test_marked_spans_are_another_task(tmp_path):
    for spans in ([[0, 2, "PER"]], [{"start_offset": 0, "end_offset": 2, "label": "PER"}]):
        with pytest.raises(InputError, match=r"row 1 has marked spans.*doccano"):
            read(tmp_path, spans)


def test_doccano_exports(tmp_path):
    path = tmp_path / "all.jsonl"
    for text, label in (("text", "label"), ("data", "label"), ("text", "labels")):
        rows = [{"id": 7, text: "正文", label: ["甲"], "Comments": []}]
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        result = read_documents(path)
        assert (result.documents[0].id, result.documents[0].labels) == ("7", ("甲",))
    path.write_text('{"text": "正文", "entities": [], "relations": []}', encoding="utf-8")
    with pytest.raises(InputError, match="spans within texts are another task"):
        read_documents(path)


def test_text_pairs_and_fields(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [
        {"text": "一", "reply": "答", "label": "是", "case": 17, "day": "2024-01-01"},
        {"text": "二", "reply": " ", "label": "是", "case": "x", "day": "2024-01-02"},
        {"text": "三", "label": "否", "case": "y", "day": "2024-01-02"},
        {"text": "四", "reply": "答", "label": "否", "case": None, "day": "2024-01-02"},
        {"text": "五", "reply": "答\ud800", "label": "否", "case": "z", "day": "2024-01-03"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    result = read_documents(path, DataSettings(text_pair_column="reply", group_column="case"))
    assert [(d.text_pair, dict(d.fields)) for d in result.documents] == [
        ("答", {"case": "17"}),
        ("答\ufffd", {"case": "z"}),
    ]
    assert reasons(result) == [
        (2, "reply is only white space"),
        (3, "reply is missing"),
        (4, "case is missing"),
    ]
    # What is to be classified has no group yet.
    unlabelled = read_documents(path, DataSettings(group_column="case"), labelled=False)
    assert len(unlabelled.documents) == 5
    assert unlabelled.report.problem_type is None


def test_contradicting_sets_of_labels_are_told(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"text": "同", "label": label} for label in (["甲", "乙"], ["乙", "甲"], ["甲"])]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert "1 texts have contradicting labels (ids 3)" in read_documents(path).report.notes
