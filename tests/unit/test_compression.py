from __future__ import annotations

import gzip
import io
import json
import tracemalloc

import pytest

from longform.config import DataSettings
from longform.data.files import compression
from longform.data.readers import DocumentReader, read_documents
from longform.errors import InputError, MissingExtraError

zstandard = pytest.importorskip("zstandard")

LINES = "".join(
    json.dumps({"text": f"第{n}行", "label": "甲乙"[n % 2]}) + "\n" for n in range(3000)
)
FASTTEXT = "__label__甲 第一行\n__label__乙 第二行\n"


def pack(content: str, frames: int = 1) -> bytes:
    data = content.encode()
    size = len(data) // frames + 1
    packer = zstandard.ZstdCompressor(write_checksum=True)
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(packer.compress(part) for part in parts)


@pytest.mark.parametrize("name", ["a.jsonl.zst", "a.csv", "a.zst"])
@pytest.mark.parametrize("frames", [1, 3])
def test_zstandard_is_told_by_content(tmp_path, name, frames):
    path = tmp_path / name
    path.write_bytes(pack(LINES, frames))
    result = read_documents(path)
    assert len(result.documents) == 3000
    assert (result.report.compression, result.report.format) == ("zstd", "jsonl")


@pytest.mark.parametrize("pack_fasttext", [gzip.compress, lambda data: pack(data.decode())])
def test_fasttext_packed(tmp_path, pack_fasttext):
    path = tmp_path / "train.txt.gz"
    path.write_bytes(pack_fasttext(FASTTEXT.encode()))
    assert [document.label for document in read_documents(path).documents] == ["甲", "乙"]


@pytest.mark.parametrize("cut", [1, 4, 5, 100, 1000])
def test_r19_zstandard_cut_short_is_never_taken_for_the_end(tmp_path, cut):
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(pack(LINES, frames=2)[:-cut])
    with pytest.raises(InputError, match=r"zstd archive .* damaged or cut short"):
        read_documents(path)


def test_r19_zstandard_with_a_changed_byte(tmp_path):
    packed = bytearray(pack(LINES))
    packed[-2] ^= 1
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(bytes(packed))
    with pytest.raises(InputError, match="damaged"):
        read_documents(path)


def test_name_and_packing_that_differ_are_noted(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(gzip.compress(LINES.encode()))
    assert "named .zst but gzip" in read_documents(path).report.notes
    path.write_text(LINES, encoding="utf-8")
    assert "named .zst but not packed" in read_documents(path).report.notes


def test_without_the_library_the_install_line_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("longform.extras.is_available", lambda library: False)
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(pack(LINES))
    with pytest.raises(MissingExtraError, match=r"pip install 'longform\[data\]'"):
        read_documents(path)


def test_r06_memory_does_not_grow_with_what_is_packed(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    line = json.dumps({"text": "长文档" * 1000, "label": "甲"}) + "\n"
    path.write_bytes(pack(line * 2000, frames=4))
    # Rows alike pack thousandfold: the worst case of a block unpacked at once.
    reader = DocumentReader(path, DataSettings(encoding="utf-8"))
    tracemalloc.start()
    try:
        assert sum(1 for _ in reader) == 2000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(line) * 2000 > 30_000_000
    assert peak < 20_000_000


def test_reader_gives_the_bytes_whatever_is_asked_for():
    data = pack(LINES, frames=3)
    stream = io.BufferedReader(compression._ZstandardReader(io.BytesIO(data), zstandard), 7)
    assert b"".join(iter(lambda: stream.read(11), b"")) == LINES.encode()
