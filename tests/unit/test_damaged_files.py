"""Whatever happens to the bytes of a file: documents, or one error that names it."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longform.config import DataSettings
from longform.data.files import json_rows
from longform.data.readers import documents_from_rows, read_documents
from longform.errors import InputError

ROWS = [{"text": f"第{n}行的正文，不长。", "label": "甲乙"[n % 2]} for n in range(20)]
KINDS = [
    *("a.csv", "gb18030.csv", "utf-16.csv", "a.tsv", "a.json", "a.jsonl", "a.txt"),
    *("a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.arrow", "a.arrows", "a.xlsx"),
]


@cache
def make(name: str, folder: Path) -> bytes:
    path = folder / name
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    table = "text,label\n" + "".join(f'"{row["text"]}",{row["label"]}\n' for row in ROWS)
    texts = {
        "a.csv": table.encode(),
        "gb18030.csv": table.encode("gb18030"),
        "utf-16.csv": table.encode("utf-16"),
        "a.tsv": table.replace(",", "\t").encode(),
        "a.json": json.dumps(ROWS, ensure_ascii=False).encode(),
        "a.jsonl": lines.encode(),
        "a.txt": "".join(f"__label__{row['label']} {row['text']}\n" for row in ROWS).encode(),
        "a.jsonl.gz": gzip.compress(lines.encode()),
    }
    if name in texts:
        return texts[name]
    if name.endswith(".zst"):
        return pytest.importorskip("zstandard").ZstdCompressor().compress(lines.encode())
    if name.endswith(".xlsx"):
        book = pytest.importorskip("openpyxl").Workbook()
        for row in [("text", "label"), *(tuple(row.values()) for row in ROWS)]:
            book.active.append(row)
        book.save(path)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        content = pyarrow.Table.from_pylist(ROWS)
        if name.endswith(".parquet"):
            pytest.importorskip("pyarrow.parquet").write_table(content, path)
        else:
            ipc = pytest.importorskip("pyarrow.ipc")
            new = ipc.new_file if name == "a.arrow" else ipc.new_stream
            with pyarrow.OSFile(str(path), "wb") as file, new(file, content.schema) as writer:
                writer.write_table(content, max_chunksize=5)
    return path.read_bytes()


@pytest.mark.parametrize("name", KINDS)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=4), st.booleans()),
        min_size=1,
        max_size=6,
    ),
    cut=st.one_of(st.none(), st.integers(1, 1 << 16)),
    errors=st.sampled_from(["strict", "replace", "skip"]),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_r19_damage_gives_documents_or_one_error(tmp_path_factory, name, changes, cut, errors):
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(make(name, folder))
    for position, replacement, overwrite in changes:
        position %= len(content)
        content[position : position + (len(replacement) if overwrite else 0)] = replacement
    if cut is not None:
        del content[cut % len(content) + 1 :]
    path = folder / f"damaged-{name}"
    path.write_bytes(bytes(content))
    try:
        result = read_documents(path, DataSettings(encoding_errors=errors))
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017 - either outcome is right
        return
    assert result.report.rows == len(result.documents) + len(result.report.skipped)
    for document in result.documents:
        "".join((document.id, document.text, document.label or "")).encode()


@pytest.mark.parametrize("name", KINDS)
def test_the_same_files_undamaged_give_the_same_rows(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(make(name, tmp_path))
    expected = [(document.text, document.label) for document in documents_from_rows(ROWS).documents]
    documents = read_documents(path).documents
    assert [(document.text, document.label) for document in documents] == expected


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_r05_lines_and_values_without_end_take_no_more_than_the_longest(
    tmp_path, monkeypatch, name
):
    monkeypatch.setattr(json_rows, "LONGEST_FIELD", 1000)
    monkeypatch.setattr(json_rows, "_BLOCK", 64)
    opening = "[" if name == "a.json" else ""
    path = tmp_path / name
    path.write_text(opening + '{"text": "' + "长" * 5000, "utf-8")
    with pytest.raises(InputError, match=r"line 1: .*1,000 characters"):
        read_documents(path)
