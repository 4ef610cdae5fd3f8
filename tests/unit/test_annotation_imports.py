"""Finished annotations of Label Studio and doccano as training documents."""

import json

import pytest

from longform.config import DataSettings
from longform.data.readers import read_documents
from longform.errors import InputError

MULTI = "multi_label_classification"


def choice(*labels, control="label"):
    value = {"choices": list(labels)}
    return {"from_name": control, "to_name": "text", "type": "choices", "value": value}


def span(start, end, label):
    value = {"start": start, "end": end, "text": "x", "labels": [label]}
    return {"id": "s", "from_name": "passages", "to_name": "text", "type": "labels", "value": value}


def task(text, *results, number=1, **fields):
    annotations = [{"id": 7, "was_cancelled": False, "result": list(result)} for result in results]
    return {"id": number, "data": {"text": text}, "annotations": annotations, **fields}


def read(tmp_path, rows, settings=None, **arguments):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return read_documents(path, settings or DataSettings(), **arguments)


def test_choices_become_the_label_and_spans_are_passed_over(tmp_path):
    found = read(
        tmp_path,
        [
            task("甲文", [choice("甲"), span(0, 1, "甲")]),
            task("乙文", [choice("乙")], number=2),
            {"id": 3, "data": {"text": "未标"}, "annotations": []},
        ],
    )
    assert [(d.id, d.text, d.label) for d in found.documents] == [
        ("1", "甲文", "甲"),
        ("2", "乙文", "乙"),
    ]
    assert [(row.row, row.reason) for row in found.report.skipped] == [(3, "label is missing")]
    assert "3 tasks of Label Studio" in found.report.notes
    assert "1 marked spans passed over" in found.report.notes
    assert "1 of them without a finished annotation" in found.report.notes


def test_several_choices_are_several_labels(tmp_path):
    rows = [task("一", [choice("乙", "甲")]), task("二", [choice("甲")])]
    found = read(tmp_path, rows)
    assert found.report.problem_type == MULTI
    assert [d.labels for d in found.documents] == [("乙", "甲"), ("甲",)]
    # One label first: which it is must be said, and then both orders read alike.
    with pytest.raises(InputError, match="multi_label_classification"):
        read(tmp_path, rows[::-1])
    told = read(tmp_path, rows[::-1], DataSettings(problem_type=MULTI))
    assert [d.labels for d in told.documents] == [("甲",), ("乙", "甲")]


def test_annotators_who_disagree_give_no_label(tmp_path):
    rows = [
        task("一", [choice("甲")], [choice("乙")]),
        task("二", [choice("甲")], [choice("甲")]),
        task("三", [choice("甲")], [choice("乙")]),
        task("四", [choice("甲")], [choice("乙")]),
    ]
    rows[2]["annotations"][1]["ground_truth"] = True
    rows[3]["annotations"][0]["was_cancelled"] = True
    found = read(tmp_path, rows)
    assert [(d.text, d.label) for d in found.documents] == [
        ("二", "甲"),
        ("三", "乙"),
        ("四", "乙"),
    ]
    assert found.report.skipped[0].reason == "annotators disagree: 甲 against 乙"


def test_a_control_of_another_name(tmp_path):
    rows = [task("一", [choice("甲", control="主题")]), task("二", [choice("乙", control="主题")])]
    assert [d.label for d in read(tmp_path, rows).documents] == ["甲", "乙"]
    for row in rows:
        row["annotations"][0]["result"].append(choice("好", control="语气"))
    with pytest.raises(InputError, match="主题"):
        read(tmp_path, rows)
    told = read(tmp_path, rows, DataSettings(label_column="语气"))
    assert [d.label for d in told.documents] == ["好", "好"]


def test_the_id_of_the_document_outlives_that_of_the_task(tmp_path):
    row = task("一", [choice("甲")])
    row["data"]["id"] = "案-17"
    assert read(tmp_path, [row]).documents[0].id == "案-17"


def test_tasks_can_be_read_before_they_are_labelled(tmp_path):
    rows = [
        {"data": {"text": "一"}, "predictions": []},
        {"id": 2, "data": {"text": "二"}, "drafts": []},
    ]
    assert [d.text for d in read(tmp_path, rows, labelled=False).documents] == ["一", "二"]


def test_the_short_export(tmp_path):
    rows = [
        {"id": 1, "text": "一", "label": {"choices": ["甲", "乙"]}, "annotation_id": 4},
        {"id": 2, "text": "二", "label": "甲", "annotation_id": 5, "passages": [{"start": 0}]},
    ]
    assert [d.labels for d in read(tmp_path, rows).documents] == [("甲", "乙"), ("甲",)]


def test_doccano_rows_with_categories_and_spans(tmp_path):
    rows = [{"id": 1, "text": "一", "cats": ["甲"], "entities": [[0, 1, "甲"]]}]
    assert read(tmp_path, rows).documents[0].labels == ("甲",)


def test_data_that_only_looks_like_a_task(tmp_path):
    rows = [{"data": "正文", "label": "甲"}, {"data": "又一篇", "label": "乙", "annotations": "无"}]
    assert [d.text for d in read(tmp_path, rows).documents] == ["正文", "又一篇"]
