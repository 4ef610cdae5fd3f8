from __future__ import annotations

import pytest

from longform.config import DataSettings
from longform.data.readers import documents_from_rows
from longform.errors import InputError

ROWS = [{"text": "一", "label": "甲"}, {"text": "", "label": "乙"}, {"text": "三", "label": 7}]


def test_any_mappings_are_read_by_the_rules_of_files():
    for rows in (ROWS, iter(ROWS)):
        result = documents_from_rows(rows)
        assert [(d.id, d.text, d.label) for d in result.documents] == [
            ("1", "一", "甲"),
            ("3", "三", "7"),
        ]
        assert [(row.row, row.reason) for row in result.report.skipped] == [(2, "text is empty")]
    assert result.report.summary().startswith("rows (rows): 2 documents; 1 of 3 rows skipped")


def test_what_is_not_rows_is_refused():
    with pytest.raises(InputError, match=r"keys 'train', 'test'.*rows\['train'\]"):
        documents_from_rows({"train": ROWS, "test": ROWS})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not a mapping but a str"):
        documents_from_rows(["text", "label"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="no rows"):
        documents_from_rows([])
    with pytest.raises(InputError, match=r"validation has the columns 'a'.*--text-column"):
        documents_from_rows([{"a": 1}], name="validation")


def test_hugging_face_datasets_with_names_for_their_numbers():
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["甲", "乙"])
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": names, "idx": datasets.Value("int32")}
    )
    content = {"sentence": ["一", "二", "三"], "label": [1, 0, -1], "idx": [5, 6, 7]}
    dataset = datasets.Dataset.from_dict(content, features=features)
    result = documents_from_rows(dataset)
    assert [(d.text, d.label) for d in result.documents] == [("一", "乙"), ("二", "甲")]
    assert [row.reason for row in result.report.skipped] == ["label is missing"]
    assert result.report.text_column == "sentence"
    with pytest.raises(InputError, match=r"'sentence', 'label', 'idx'"):
        documents_from_rows(dataset, DataSettings(text_column="body"))
    with pytest.raises(InputError, match=r"DatasetDict .*'train'"):
        documents_from_rows(datasets.DatasetDict(train=dataset))
    assert len(documents_from_rows(dataset.to_iterable_dataset()).documents) == 2


def test_hugging_face_lists_of_class_numbers():
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["甲", "乙"])
    features = datasets.Features({"text": datasets.Value("string"), "labels": datasets.List(names)})
    content = {"text": ["一", "二"], "labels": [[1, 0], []]}
    dataset = datasets.Dataset.from_dict(content, features=features)
    result = documents_from_rows(dataset)
    assert [document.labels for document in result.documents] == [("乙", "甲"), ()]
