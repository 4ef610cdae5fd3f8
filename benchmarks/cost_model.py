"""What a billion documents of 5,000 characters cost: core-hours, device-hours, bytes, money.

Processors: figures of this repository, measured on one machine (`benchmarks/results`). GPUs and
NPUs: operations of a document over the rate on a device's data sheet times a utilisation that you
set. Nothing of these was measured, and every row says so.

    python benchmarks/cost_model.py --utilisation 0.3 --price-per-core-hour 0.01
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
CHARACTERS = 5_000
DOCUMENTS = 1_000_000_000
EXIT_SHARE = 0.88
"""Of a cascade of a linear model and a stacked e5-small: `cascade_stacked.json`."""
MEASURED, DERIVED = "measured", "not measured"


@dataclass(frozen=True, slots=True)
class Text:
    """What was counted on 1,500 Fudan documents (mean 5,677 characters, most of them Chinese).

    Attributes:
        raw_bytes: UTF-8, a character.
        stored_bytes: Parquet with zstd, row groups of 256, a character.
        tokens: Of e5-small-zh-en's vocabulary, a character.
        answer_bytes: Of the answers in parquet, 20 classes with all scores, a document.
        vector_bytes: Of cached vectors of e5-small in segments of 128, a token: 12 MB for the
            672,438 tokens of 200 documents (docs/performance.md).
    """

    raw_bytes: float = 2.631
    stored_bytes: float = 1.333
    tokens: float = 0.6016
    answer_bytes: float = 173.0
    vector_bytes: float = 17.8


@dataclass(frozen=True, slots=True)
class Device:
    """An accelerator by its data sheet.

    Attributes:
        teraflops: Half precision, dense.
        gigabytes_per_second: Of its memory.
        source: Where the figures were found.
    """

    name: str
    teraflops: float
    gigabytes_per_second: float
    source: str


DEVICES = (
    Device("NVIDIA L4", 125.0, 300.0, "hmc-tech.com and fpsbench.com (third parties)"),
    Device(
        "NVIDIA A100 40 GB", 312.0, 1_555.0, "hmc-tech.com (rate); 1,555 GB/s is NVIDIA's figure"
    ),
    Device(
        "Ascend 910B, one chip",
        256.0,
        400.0,
        "the lowest of what third parties name: 256 to 320 TFLOPS, 400 to 1,200 GB/s",
    ),
    Device(
        "Atlas 300I Duo, one card",
        140.0,
        408.0,
        "3dnews.ru: 280 TOPS in int8, of which half is assumed for half precision; 408 GB/s",
    ),
)


@dataclass(frozen=True, slots=True)
class Model:
    """What a document costs on processors.

    Attributes:
        name: Of the model.
        core_seconds: Of one hardware thread, all stages together.
        serial_seconds: Of these, what a worker does in one thread however many it has.
        basis: Where the figure comes from.
    """

    name: str
    core_seconds: float
    serial_seconds: float
    basis: str

    @property
    def core_hours(self) -> float:
        """For all documents."""
        return self.core_seconds * DOCUMENTS / 3_600


def load(name: str) -> Any:
    """Return a committed result."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def tokens_per_core(name: str = "openvino:int8-static") -> float:
    """Return the tokens a second that e5-small encodes on one hardware thread."""
    measured = load("inference.json")
    (row,) = (item for item in measured["contenders"] if item["name"] == name)
    return float(row["tokens_per_second"]) / measured["machine"]["threads"]


def cutting_seconds(text: Text) -> float:
    """Return what reading, cleaning and segmenting a document takes of one thread."""
    (row,) = (
        item
        for item in load("data.json")["results"]
        if item["work"] == "jsonl: read, clean and segment"
    )
    return CHARACTERS * text.raw_bytes / (float(row["per_processor_second"]) * 1e6)


def models(text: Text, linear_seconds: float) -> list[Model]:
    """Return the models, cheapest first.

    Args:
        text: What a document is like.
        linear_seconds: Processor time of a linear model for a document, reading and writing
            included, in a bulk job.
    """
    encoding = CHARACTERS * text.tokens / tokens_per_core()
    cutting = cutting_seconds(text)
    full = encoding + cutting
    onward = 1 - EXIT_SHARE
    return [
        Model("linear", linear_seconds, linear_seconds, "processor time of a bulk job"),
        Model(
            f"cascade, {EXIT_SHARE:.0%} stop early",
            linear_seconds + onward * full,
            linear_seconds,
            "linear, and the full model for the rest",
        ),
        Model("full: e5-small, int8", full, 0.0, "inference.json, data.json"),
        Model("full: a base-size encoder, bf16", _base_seconds(text) + cutting, 0.0, "roofline"),
    ]


def _base_seconds(text: Text) -> float:
    row = _roofline("base")
    threads = load("roofline.json")["machine"]["threads"]
    return float(row["measured_ms"]) / 1e3 * threads * _tokens_against_roofline(text)


def _roofline(size: str) -> dict[str, Any]:
    rows = (
        item
        for item in load("roofline.json")["rows"]
        if item["encoder"].startswith(size) and item["backend"] == "openvino:bf16"
    )
    return dict(next(rows))


def _tokens_against_roofline(text: Text) -> float:
    return CHARACTERS * text.tokens / 3_258


@dataclass(frozen=True, slots=True)
class OnDevice:
    """A model on a device: derived, not measured.

    Attributes:
        floor_ms: Of a document: the larger of operations over rate and bytes over bandwidth.
        bound_by: Which of the two.
        documents_per_second: At the utilisation.
        device_hours: For all documents; of a cascade, those that go on alone.
        cutting_cores: Hardware threads that cut documents for one device.
    """

    device: str
    model: str
    status: str
    floor_ms: float
    bound_by: str
    documents_per_second: float
    device_hours: float
    cascade_device_hours: float
    cutting_cores: float


def on_devices(text: Text, utilisation: float) -> list[OnDevice]:
    """Derive what devices would do from their floors.

    Args:
        text: What a document is like.
        utilisation: Share of the floor's rate that is reached.
    """
    rows = []
    for device in DEVICES:
        for size, name in (("small", "e5-small"), ("base", "base-size encoder")):
            work, scale = _roofline(size), _tokens_against_roofline(text)
            arithmetic = work["gflop"] * scale / device.teraflops
            memory = work["megabytes"] * scale / device.gigabytes_per_second
            floor = max(arithmetic, memory)
            rate = utilisation * 1e3 / floor
            hours = DOCUMENTS / rate / 3_600
            rows.append(
                OnDevice(
                    device.name,
                    name,
                    DERIVED,
                    round(floor, 3),
                    "arithmetic" if arithmetic >= memory else "memory",
                    round(rate),
                    round(hours),
                    round(hours * (1 - EXIT_SHARE)),
                    round(rate * cutting_seconds(text), 1),
                )
            )
    return rows


def storage(text: Text) -> dict[str, float]:
    """Return terabytes of all documents, answers and vectors, and what vectors are worth.

    `break_even_months` x (price of a core-hour / price of a
    gigabyte-month) are the months after which keeping the vectors of a document has cost as much as
    encoding it again once.
    """
    vectors = CHARACTERS * text.tokens * text.vector_bytes
    encoding = CHARACTERS * text.tokens / tokens_per_core()
    return {
        "raw_tb": CHARACTERS * text.raw_bytes * DOCUMENTS / 1e12,
        "stored_tb": CHARACTERS * text.stored_bytes * DOCUMENTS / 1e12,
        "answers_tb": text.answer_bytes * DOCUMENTS / 1e12,
        "vectors_tb": vectors * DOCUMENTS / 1e12,
        "vector_bytes_per_document": vectors,
        "break_even_months": (encoding / 3_600) / (vectors / 1e9),
    }


def money(core_hours: float, per_core_hour: float, stored_tb: float, per_gb_month: float) -> float:
    """Return the price of a job whose data are kept for a month, in the currency of the prices."""
    return core_hours * per_core_hour + stored_tb * 1e3 * per_gb_month


def as_record(linear_seconds: float, utilisation: float) -> dict[str, Any]:
    """Return the whole model for a JSON file."""
    text = Text()
    return {
        "documents": DOCUMENTS,
        "characters": CHARACTERS,
        "text": asdict(text),
        "cpu": [
            {
                **asdict(item),
                "documents_per_core_second": 1 / item.core_seconds,
                "core_hours": item.core_hours,
                "status": MEASURED,
            }
            for item in models(text, linear_seconds)
        ],
        "utilisation": utilisation,
        "devices": [asdict(item) for item in on_devices(text, utilisation)],
        "sources": {item.name: item.source for item in DEVICES},
        "storage": storage(text),
    }


def main() -> None:
    """Print the model with the reader's own prices."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utilisation", type=float, default=0.3)
    parser.add_argument("--linear-seconds", type=float, default=None)
    parser.add_argument("--price-per-core-hour", type=float, default=0.01)
    parser.add_argument("--price-per-gb-month", type=float, default=0.01)
    arguments = parser.parse_args()
    linear = arguments.linear_seconds or load("scale.json")["linear_seconds_per_document"]
    record = as_record(linear, arguments.utilisation)
    kept = record["storage"]["stored_tb"] + record["storage"]["answers_tb"]
    for row in record["cpu"]:
        price = money(
            row["core_hours"], arguments.price_per_core_hour, kept, arguments.price_per_gb_month
        )
        print(
            f"{row['name']:34} {row['core_seconds'] * 1e3:8.2f} ms of a core a document, "
            f"{row['core_hours']:9,.0f} core-hours, {price:9,.2f} with a month of storage"
        )
    for row in record["devices"]:
        print(
            f"{row['device']:26} {row['model']:18} {row['documents_per_second']:6,} documents/s "
            f"({row['status']}), {row['device_hours']:7,} device-hours, "
            f"{row['cutting_cores']} cores cut for it"
        )
    print(json.dumps(record["storage"], indent=2))


if __name__ == "__main__":
    main()
