from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from longform.config import DataSettings
from longform.data.readers import DocumentReader, read_documents
from longform.errors import InputError


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


SIMPLIFIED = "研究人员提出了一种新的长文本分类方法，准确率比基线高出三个百分点。"


def test_one_folder_a_label_each_file_in_its_own_encoding(tmp_path):
    folder = write(
        tmp_path / "语料",
        {
            "体育/2.txt": "主队\r\n获胜",
            "体育/10.TXT": SIMPLIFIED.encode("gbk"),
            "农业/a.txt": "粮食".encode("utf-8-sig"),
            "农业/b.txt.gz": gzip.compress("产量".encode()),
            "农业/空.txt": "",
            "农业/图.png": b"\x89PNG",
            "readme.md": "说明",
            "无标签.txt": "正文",
            "体育/更深/c.txt": "深处",
        },
    )
    reader = DocumentReader(folder)
    documents = list(reader)
    assert [(document.id, document.text, document.label) for document in documents] == [
        ("体育/10.TXT", SIMPLIFIED, "体育"),
        ("体育/2.txt", "主队\r\n获胜", "体育"),
        ("农业/a.txt", "粮食", "农业"),
        ("农业/b.txt.gz", "产量", "农业"),
    ]
    report = reader.report
    assert [(row.name, row.reason) for row in report.skipped] == [
        ("农业/空.txt", "text is empty"),
        ("无标签.txt", "label is missing"),
    ]
    assert "rows 农业/空.txt" in report.summary() or "row 农业/空.txt" in report.summary()
    assert report.format == "folder"
    notes = " ".join(report.notes)
    assert "2 files that are not .txt passed over (readme.md, 农业/图.png)" in notes
    assert "1 .txt files lie deeper" in notes
    assert "1 gb18030" in notes
    assert list(reader) == documents


def test_without_labels_every_text_file_is_read(tmp_path):
    folder = write(tmp_path, {"a.txt": "一", "b/c.txt": "二", "b/d/e.txt": "三"})
    result = read_documents(folder, labelled=False)
    assert [document.id for document in result.documents] == ["a.txt", "b/c.txt", "b/d/e.txt"]


def test_a_file_that_cannot_be_decoded_is_named(tmp_path):
    folder = write(tmp_path, {"甲/好.txt": SIMPLIFIED, "甲/坏.txt": SIMPLIFIED.encode() + b"\xff"})
    with pytest.raises(InputError, match=r"坏\.txt"):
        read_documents(folder)
    skipped = read_documents(folder, DataSettings(encoding_errors="skip")).report.skipped
    assert [row.name for row in skipped] == ["甲/坏.txt"]
    replaced = read_documents(folder, DataSettings(encoding_errors="replace"))
    assert replaced.documents[0].text == SIMPLIFIED + "\ufffd"


def test_a_file_that_is_no_text_is_left_out_and_named(tmp_path):
    folder = write(tmp_path, {"甲/a.txt": "一", "甲/b.txt": b"PAR1" + bytes(50)})
    report = read_documents(folder).report
    assert [(row.name, row.reason) for row in report.skipped] == [
        ("甲/b.txt", "not a text file but parquet")
    ]


def test_the_encoding_given_holds_for_every_file(tmp_path):
    folder = write(tmp_path, {"甲/a.txt": "短".encode("gbk"), "乙/b.txt": "文".encode("gbk")})
    result = read_documents(folder, DataSettings(encoding="gbk"))
    assert {document.text for document in result.documents} == {"短", "文"}
    assert "gbk" in result.report.summary()


def test_nothing_to_read(tmp_path):
    with pytest.raises(InputError, match=r"no \.txt file in .*, 1 other files"):
        read_documents(write(tmp_path, {"甲/a.doc": "x"}))
    with pytest.raises(InputError, match=r"label is missing"):
        read_documents(write(tmp_path / "flat", {"a.txt": "x"}))
