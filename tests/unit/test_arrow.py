from __future__ import annotations

import gzip
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from longform.config import DataSettings
from longform.data.readers import DocumentReader, read_documents
from longform.errors import InputError

pyarrow = pytest.importorskip("pyarrow")
ipc = pytest.importorskip("pyarrow.ipc")
parquet = pytest.importorskip("pyarrow.parquet")

TABLE = pyarrow.table(
    {
        "note": ["x"] * 200,
        "text": ["一", None, "三", "四"] * 50,
        "label": ["甲", "乙", None, "丁"] * 50,
        "day": [date(2024, 1, 2)] * 200,
    }
)


def write(path: Path, table: Any, *, stream: bool = False, rows: int | None = None) -> Path:
    make = ipc.new_stream if stream else ipc.new_file
    with pyarrow.OSFile(str(path), "wb") as file, make(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("rows", [None, 7])
def test_files_and_streams(tmp_path, stream, rows):
    path = write(tmp_path / "a.csv", TABLE, stream=stream, rows=rows)
    reader = DocumentReader(path, DataSettings(time_column="day"))
    documents = list(reader)
    assert len(documents) == 100
    assert (documents[1].id, documents[1].text, documents[1].label) == ("4", "四", "丁")
    assert documents[1].fields == {"day": "2024-01-02"}
    assert reader.report.format == "arrow"
    assert reader.report.encoding is None
    assert len(reader.report.skipped) == 100
    assert list(reader) == documents


def test_a_stream_can_be_packed_and_a_file_cannot(tmp_path):
    for stream in (True, False):
        plain = write(tmp_path / "a.arrow", TABLE, stream=stream)
        packed = tmp_path / "a.arrow.gz"
        packed.write_bytes(gzip.compress(plain.read_bytes()))
        if stream:
            assert len(read_documents(packed).documents) == 100
        else:
            with pytest.raises(InputError, match="gzip -d"):
                read_documents(packed)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kept", [8, 40, 400, -30])
def test_damage_is_one_clear_error(tmp_path, stream, kept):
    path = write(tmp_path / "a.arrow", TABLE, stream=stream, rows=10)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"a\.arrow"):
        read_documents(path)


def test_missing_column(tmp_path):
    path = write(tmp_path / "a.arrow", TABLE.rename_columns(["a", "b", "c", "d"]))
    with pytest.raises(InputError, match=r"'a', 'b', 'c', 'd'.*--text-column"):
        read_documents(path)


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_numbers_of_hugging_face_classes_become_their_names(tmp_path, kind):
    features = {"label": {"names": ["甲", "乙"], "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pyarrow.table({"text": ["一", "二", "三", "四"], "label": [1, 0, -1, 2]})
    table = table.replace_schema_metadata(metadata)
    path = tmp_path / "a"
    write(path, table) if kind == "arrow" else parquet.write_table(table, path)
    result = read_documents(path)
    assert [document.label for document in result.documents] == ["乙", "甲"]
    assert [row.reason for row in result.report.skipped] == [
        "label is missing",
        "label 2 is none of the 2 classes",
    ]


def test_parquet_lists_of_labels(tmp_path):
    table = pyarrow.table({"text": ["一", "二", "三"], "label": [["甲", "乙"], [], None]})
    parquet.write_table(table, tmp_path / "a.parquet")
    result = read_documents(tmp_path / "a.parquet")
    assert [document.labels for document in result.documents] == [("甲", "乙"), ()]
    assert result.report.problem_type == "multi_label_classification"
    assert [row.reason for row in result.report.skipped] == ["label is missing"]
