from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longform.config import DataSettings
from longform.data.files import tfrecord
from longform.data.readers import read_documents
from longform.errors import InputError, MissingExtraError

google_crc32c = pytest.importorskip("google_crc32c")
pytest.importorskip("google.protobuf")


def field(number: int, data: bytes) -> bytes:
    """One length-delimited field of a protobuf message."""
    size, length = b"", len(data)
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + data


def example(**features: Any) -> bytes:
    entries = b""
    for name, values in features.items():
        values = values if isinstance(values, list) else [values]
        if all(isinstance(value, int) for value in values):
            packed = b"".join(bytes([value]) for value in values)
            feature = field(3, field(1, packed))
        elif all(isinstance(value, float) for value in values):
            feature = field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
        else:
            data = [value.encode() if isinstance(value, str) else value for value in values]
            feature = field(1, b"".join(field(1, value) for value in data))
        entries += field(1, field(1, name.encode()) + field(2, feature))
    return field(1, entries)


def crc(data: bytes) -> bytes:
    value = google_crc32c.value(data)
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + crc(length) + data + crc(data)


def write(folder: Path, *records: bytes, name: str = "a.bin") -> Path:
    path = folder / name
    path.write_bytes(b"".join(map(record, records)))
    return path


def refuse(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_documents(path, DataSettings(**options))
    return str(caught.value)


def test_the_checksum_is_crc32c_turned_by_15_bits_plus_a_constant():
    assert google_crc32c.value(b"123456789") == 0xE3069283
    assert tfrecord._masked_crc(b"123456789") == 0xC78AB0E5


@pytest.mark.parametrize("packed", [False, True])
def test_features_of_all_kinds_are_told_by_content(tmp_path, packed):
    path = write(
        tmp_path,
        example(text="正文" * 100, label="农业", id="x", weight=0.5),
        example(text="一", label=3),
        example(text="二", label=["a", "b"], unread=b"\xff"),
        example(label="a"),
    )
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    result = read_documents(path, DataSettings(problem_type="multi_label_classification"))
    assert [(d.id, d.text[:2], d.labels) for d in result.documents] == [
        ("x", "正文", ("农业",)),
        ("2", "一", ("3",)),
        ("3", "二", ("a", "b")),
    ]
    assert [(row.row, row.reason) for row in result.report.skipped] == [(4, "text is missing")]
    assert result.report.format == "tfrecord"


@given(position=st.integers(0, 10_000), change=st.integers(1, 255))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_changed_byte_is_found_and_its_record_named(tmp_path, position, change):
    records = [record(example(text=f"第{n}行的正文", label="甲")) for n in range(3)]
    content = bytearray(b"".join(records))
    position %= len(content)
    content[position] ^= change
    path = tmp_path / "a.tfrecord"
    path.write_bytes(bytes(content))
    expected = 1 + sum(position >= len(b"".join(records[: n + 1])) for n in range(3))
    assert f"record {expected}: the checksum" in refuse(path)


@given(kept=st.integers(1, 10_000))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_cut_is_found_but_one_between_records(tmp_path, kept):
    records = [record(example(text=f"第{n}行的正文", label="甲")) for n in range(3)]
    content = b"".join(records)
    kept = 1 + kept % (len(content) - 1)
    path = tmp_path / "a.tfrecord"
    path.write_bytes(content[:kept])
    ends = [len(b"".join(records[: n + 1])) for n in range(3)]
    if kept in ends:
        assert len(read_documents(path).documents) == ends.index(kept) + 1
    else:
        assert f"record {1 + sum(end < kept for end in ends)}: the file ends" in refuse(path)


def test_a_length_beyond_what_is_read_is_refused_though_its_checksum_is_right(tmp_path):
    length = struct.pack("<Q", 1 << 62)
    path = tmp_path / "a.tfrecord"
    path.write_bytes(length + crc(length) + b"x" * 100)
    assert "record 1: it has" in refuse(path)


def test_what_is_no_example_or_lacks_the_columns_is_named(tmp_path):
    good = example(text="一", label="甲")
    assert "record 2: it is no tf.train.Example" in refuse(write(tmp_path, good, b"\xff\xff\xff"))
    message = refuse(write(tmp_path, example(sentence1="一", kind="甲")))
    assert "'sentence1', 'kind'" in message
    assert "--text-column" in message


def test_bytes_that_are_not_text(tmp_path):
    path = write(tmp_path, example(text="一", label="甲"), example(text=b"\xb0\xa1", label="甲"))
    assert "record 2: byte 0 (0xb0) of a feature is not utf-8" in refuse(path)
    given_encoding = read_documents(path, DataSettings(encoding="gbk", encoding_errors="replace"))
    assert given_encoding.documents[1].text == "啊"
    skipped = read_documents(path, DataSettings(encoding_errors="skip"))
    assert [row.row for row in skipped.report.skipped] == [2]


def test_without_the_library_the_install_line_is_said(tmp_path, monkeypatch):
    path = write(tmp_path, example(text="一", label="甲"), name="a.tfrecord")
    monkeypatch.setattr("longform.extras.is_available", lambda library: False)
    with pytest.raises(MissingExtraError, match=r"longform\[data\]"):
        read_documents(path)
