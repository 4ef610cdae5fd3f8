"""Rows of TFRecord files of `tf.train.Example`, without TensorFlow.

Framing, as tensorflow/core/lib/io/record_writer.h has it: length (uint64), masked CRC-32C of the
length, data, masked CRC-32C of the data, all little-endian.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from longform.data.files.tables import LONGEST_FIELD, Row, Table
from longform.errors import InputError
from longform.extras import is_available, require

if TYPE_CHECKING:
    from longform.data.files.sources import Source

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_NAMED_SO = re.compile(r"\.tfrecords?(-\d+-of-\d+)?(\.(gz|zst))?$", re.IGNORECASE)
"""Shards are named `train.tfrecord-00000-of-00010`."""
_MASK_DELTA = 0xA282EAD8
_LIST_KINDS = {"bytes_list": "TYPE_BYTES", "float_list": "TYPE_FLOAT", "int64_list": "TYPE_INT64"}


def starts_tfrecord(path: Path, head: bytes) -> bool:
    """Tell whether a file begins with a record, or is named as if it did.

    Raises:
        MissingExtraError: It is named so, and the library that checks it is not installed.
    """
    if _NAMED_SO.search(path.name):
        return True
    # Only a length below 4 GB has zero bytes here; text has none.
    if len(head) < _HEADER.size or head[4:8] != bytes(4) or not is_available("google_crc32c"):
        return False
    return bool(_masked_crc(head[:8]) == _HEADER.unpack_from(head)[1])


def open_tfrecord(source: Source) -> Table:
    """Open a TFRecord file; the features of each record are its columns.

    Only features that are wanted are decoded, the others are None.

    Raises:
        MissingExtraError: google-crc32c or protobuf is not installed.
    """
    require("google_crc32c", "Reading TFRecord")
    require("google.protobuf", "Reading TFRecord")

    def read(columns: tuple[str, ...]) -> Iterator[Row]:
        return _iterate_rows(source, columns)

    return Table(format="tfrecord", read=read)


def _iterate_rows(source: Source, columns: tuple[str, ...]) -> Iterator[Row]:
    with source.open_binary() as stream:
        for number, data in enumerate(_iterate_records(source, stream), start=1):
            features = _read_features(source, number, data)
            values = {
                name: _read_value(source, number, feature) if name in columns else None
                for name, feature in features.items()
            }
            yield Row(number, values)


def _iterate_records(source: Source, stream: BinaryIO) -> Iterator[bytes]:
    """Yield the data of the records. No length is used before its checksum was found right."""
    number = 0
    while header := stream.read(_HEADER.size):
        number += 1
        if len(header) < _HEADER.size:
            raise _describe(source, number, "the file ends within its length")
        length, checksum = _HEADER.unpack(header)
        if _masked_crc(header[:8]) != checksum:
            raise _describe(source, number, "the checksum of its length is wrong")
        if length > LONGEST_FIELD:
            raise _describe(source, number, f"it has {length:,} bytes, more than is read")
        # A stream gives what it has, so a length beyond its end takes no memory.
        data = stream.read(length)
        footer = stream.read(_FOOTER.size)
        if len(data) < length or len(footer) < _FOOTER.size:
            raise _describe(source, number, "the file ends within it")
        if _masked_crc(data) != _FOOTER.unpack(footer)[0]:
            raise _describe(source, number, "the checksum of its data is wrong")
        yield data


def _masked_crc(data: bytes) -> int:
    library = require("google_crc32c", "Reading TFRecord")
    checksum: int = library.value(data)
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _read_features(source: Source, number: int, data: bytes) -> dict[str, Any]:
    from google.protobuf.message import DecodeError

    example = _example_class()()
    try:
        example.ParseFromString(data)
    except DecodeError as error:
        raise _describe(source, number, f"it is no tf.train.Example ({error})") from error
    return {entry.key: entry.value for entry in example.features.feature}


def _read_value(source: Source, number: int, feature: Any) -> Any:
    """Return the only value of a feature, or the list of its values; None where it has none."""
    kind = feature.WhichOneof("kind")
    values = [] if kind is None else list(getattr(feature, kind).value)
    if kind == "bytes_list":
        values = [_decode(source, number, value) for value in values]
    return (values[0] if values else None) if len(values) < 2 else values


def _decode(source: Source, number: int, value: bytes) -> str:
    encoding = source.encoding or "utf-8"
    try:
        return value.decode(encoding, source.decoding_errors)
    except UnicodeDecodeError as error:
        fault = f"byte {error.start} (0x{value[error.start]:02x}) of a feature is not {encoding}"
        fix = (
            "Name the encoding with --encoding, or let --encoding-errors replace such bytes or "
            "skip their rows."
        )
        raise _describe(source, number, fault, fix) from error


def _describe(
    source: Source, number: int, fault: str, fix: str = "Copy or write the file again."
) -> InputError:
    return InputError(
        "A TFRecord file must hold whole records of tf.train.Example.",
        found=f"{source.path}, record {number}: {fault}",
        fix=fix,
    )


@cache
def _example_class() -> Any:
    """Build the message class of tensorflow/core/example/example.proto at run time.

    The map of features is declared as the list of entries that it is on the wire.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="longform/example.proto", package="longform", syntax="proto3"
    )

    def add_field(message: Any, name: str, kind: str, *, number: int, repeated: bool) -> Any:
        entry = message.field.add(name=name, number=number)
        entry.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
        if kind.startswith("TYPE_"):
            entry.type = getattr(kinds, kind)
        else:
            entry.type, entry.type_name = kinds.TYPE_MESSAGE, f".longform.{kind}"
        return entry

    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(_LIST_KINDS.items(), start=1):
        values = file.message_type.add(name=name)
        add_field(values, "value", kind, number=1, repeated=True)
        add_field(feature, name, name, number=number, repeated=False).oneof_index = 0
    pair = file.message_type.add(name="Entry")
    add_field(pair, "key", "TYPE_STRING", number=1, repeated=False)
    add_field(pair, "value", "Feature", number=2, repeated=False)
    features = file.message_type.add(name="Features")
    add_field(features, "feature", "Entry", number=1, repeated=True)
    example = file.message_type.add(name="Example")
    add_field(example, "features", "Features", number=1, repeated=False)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("longform.Example"))
