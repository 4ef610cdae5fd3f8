"""What a document must cost on this machine, and what it costs: `bag`, a small and a base encoder.

The floor of an encoder is the larger of two times: its operations by the rate of a large matrix
product in the same runtime and precision, and the bytes that it must read by the rate of copying
memory. Weights are read once a batch; of embeddings, the rows of the tokens. Encoders have random
weights unless a bundle is given for the small one: speed does not depend on them.

    python benchmarks/roofline.py --bundle DIR --json F
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, print_machine
from transformers import BertConfig

from longform.backends.base import Backend
from longform.backends.onnx import OnnxBackend
from longform.backends.openvino import OpenVINOBackend, Precision
from longform.backends.processor import has_bf16_units
from longform.evaluation.work import EncoderWork, work_of
from longform.export.onnx import export_encoder, export_head
from longform.models import LongTextClassifier, LongTextConfig
from longform.types import SegmentBatch

_TOKENS = 3_258
"""Tokens of the document: the median of the Fudan corpus in a Chinese-English vocabulary."""
_LENGTH = 128
_DOCUMENTS = 8
_BERTS = {
    "small: 12 layers, 384 wide": {"hidden_size": 384, "intermediate_size": 1_536},
    "base: 12 layers, 768 wide": {"hidden_size": 768, "intermediate_size": 3_072},
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, all figures of one document.

    Attributes:
        encoder: Which.
        backend: What ran it.
        gflop: Operations, in thousands of millions.
        megabytes: That must be read.
        floor_ms: Least time on this machine.
        bound_by: `arithmetic` or `memory`.
        measured_ms: Time that it took.
        gap: The quotient of the two.
    """

    encoder: str
    backend: str
    gflop: float
    megabytes: float
    floor_ms: float
    bound_by: str
    measured_ms: float
    gap: float


def copy_rate() -> float:
    """Return the bytes a second at which memory is read, by one thread, from large arrays."""
    source = np.ones(64_000_000, dtype=np.float32)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        source.sum()
        seconds.append(time.perf_counter() - started)
    return source.nbytes / min(seconds)


def batches() -> list[SegmentBatch]:
    """Return the segments of some documents, full ones, in batches as packing makes them."""
    ids = np.random.default_rng(0).integers(5, 5_000, (_DOCUMENTS * _TOKENS // _LENGTH, _LENGTH))
    parts = np.array_split(ids, len(ids) // 8)
    return [SegmentBatch(part, np.ones_like(part)) for part in parts]


def measure(name: str, backend: Backend, work: EncoderWork, byte_size: int, rate: float) -> Row:
    """Time a backend and hold it against its floor."""
    made = batches()
    rows = [part.input_ids.shape for part in made]
    list(backend.encode_all(made))
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        list(backend.encode_all(made))
        seconds.append(time.perf_counter() - started)
    segments = sum(count for count, _ in rows)
    documents = segments * _LENGTH / _TOKENS
    operations = work.flops([_LENGTH] * segments) / documents
    width = backend.info.vector_size
    # Each token reads its rows of the tables; weights are read once for each batch.
    tables = 2 if not work.weights else 1
    read = _TOKENS * tables * width * 4 + work.weights * byte_size * len(made) / documents
    ceiling = backend.matrix_rate()
    arithmetic = operations / (1e9 * ceiling) if ceiling and operations else 0.0
    floor = max(arithmetic, read / rate)
    measured = min(seconds) / documents
    row = Row(
        name,
        f"{backend.info.name}:{backend.info.precision}",
        round(operations / 1e9, 2),
        round(read / 1e6, 1),
        round(1e3 * floor, 2),
        "arithmetic" if arithmetic >= read / rate else "memory",
        round(1e3 * measured, 2),
        round(measured / floor, 2),
    )
    print(row, flush=True)
    return row


def random_model(**values: Any) -> LongTextClassifier:
    """Return a classifier with random weights."""
    return LongTextClassifier(LongTextConfig(num_labels=20, **values)).eval()


def work_in(model: LongTextClassifier) -> EncoderWork:
    """Count the work of a model's encoder."""
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    return work_of(shapes, model.config.encoder_config or {})


def main() -> None:
    """Measure, print and, where asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", type=Path, help="also its int8 encoders")
    parser.add_argument("--base", action="store_true", help="also the base encoder (a minute)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    machine, rate = describe_machine(), copy_rate()
    print_machine(machine)
    found = []
    floats: list[Precision] = ["bf16" if has_bf16_units() else "fp32"]
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        bag = random_model(encoder="bag")
        export_encoder(bag, folder / "bag.onnx")
        export_head(bag, folder / "bag_head.onnx")
        backend: Backend = OnnxBackend(folder / "bag.onnx", folder / "bag_head.onnx")
        found.append(measure("bag", backend, work_in(bag), 4, rate))
        for name, shape in list(_BERTS.items())[: 2 if arguments.base else 1]:
            heads = shape["hidden_size"] // 32 if shape["hidden_size"] < 768 else 12
            bert = BertConfig(vocab_size=21_128, num_attention_heads=heads, **shape)
            model = random_model(encoder="bert", encoder_config=bert.to_dict())
            path = folder / "encoder.onnx"
            export_encoder(model, path)
            backend = OpenVINOBackend(path, None, floats[0])
            found.append(measure(name, backend, work_in(model), 2, rate))
            if arguments.bundle and name.startswith("small"):
                for precision in ("int8", "int8-static"):
                    file = arguments.bundle / "openvino" / f"encoder.{precision}.xml"
                    if file.is_file():
                        backend = OpenVINOBackend(file, None, precision)
                        found.append(measure(name, backend, work_in(model), 1, rate))
    if arguments.json:
        content = {
            "machine": machine,
            "memory_gb_per_second": round(rate / 1e9, 1),
            "rows": [asdict(row) for row in found],
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
