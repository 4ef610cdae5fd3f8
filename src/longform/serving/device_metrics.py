"""Memory and utilisation of accelerators: NVIDIA through NVML, Ascend through npu-smi.

Both are looked at in the background, since npu-smi takes up to two seconds; a scrape gets what was
seen last. A machine without either has no such metrics.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from longform.extras import is_available

logger = logging.getLogger(__name__)

_SECONDS = 10.0
_NPU_SECONDS = 5.0
_MEBIBYTE = 1_048_576


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """How one device is.

    Attributes:
        name: `cuda:0` or `ascend:0`, by the number that the system gives.
        memory_used_bytes: Of its memory.
        memory_total_bytes: Of its memory.
        utilization_ratio: Of the time, in which a kernel ran (NVML), or of the AI cores (npu-smi).
    """

    name: str
    memory_used_bytes: float
    memory_total_bytes: float
    utilization_ratio: float


class DeviceCollector(Collector):
    """Shows what was seen of the devices last, and the most memory that was seen.

    Args:
        readers: Ask each kind of device; those of this machine by default.
    """

    def __init__(self, readers: list[Callable[[], list[DeviceReading]]] | None = None) -> None:
        self._readers = _readers_here() if readers is None else readers
        self._seen: list[DeviceReading] = []
        self._peaks: dict[str, float] = {}
        self._stop = threading.Event()
        if self._readers:
            threading.Thread(target=self._run, name="longform-devices", daemon=True).start()

    def look(self) -> None:
        """Ask every device once."""
        seen: list[DeviceReading] = []
        for read in list(self._readers):
            try:
                seen += read()
            except Exception as error:
                logger.warning("Devices can no longer be read: %s", error)
                self._readers.remove(read)
        for reading in seen:
            peak = self._peaks.get(reading.name, 0.0)
            self._peaks[reading.name] = max(peak, reading.memory_used_bytes)
        self._seen = seen

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of devices; their values carry no sample where there is no device."""
        used = GaugeMetricFamily(
            "longform_device_memory_used_bytes", "Memory in use on a device.", labels=["device"]
        )
        peak = GaugeMetricFamily(
            "longform_device_memory_peak_bytes",
            "Most memory seen in use on a device.",
            labels=["device"],
        )
        total = GaugeMetricFamily(
            "longform_device_memory_bytes", "Memory of a device.", labels=["device"]
        )
        busy = GaugeMetricFamily(
            "longform_device_utilization_ratio",
            "Share of the time that a kernel ran (GPU), or of the AI cores in use (NPU).",
            labels=["device"],
        )
        for reading in self._seen:
            used.add_metric([reading.name], reading.memory_used_bytes)
            peak.add_metric([reading.name], self._peaks[reading.name])
            total.add_metric([reading.name], reading.memory_total_bytes)
            busy.add_metric([reading.name], reading.utilization_ratio)
        yield from (used, peak, total, busy)

    def _run(self) -> None:
        while True:
            self.look()
            if not self._readers or self._stop.wait(_SECONDS):
                return


def parse_npu_usages(text: str, card: int) -> list[DeviceReading]:
    """Read `npu-smi info -t usages -i N`: indented `key : value` lines, a chip's block at a time.

    `Chip ID` closes the block of a chip; the order of the other keys is not fixed.
    """
    readings: list[DeviceReading] = []
    values: dict[str, float] = {}
    for line in text.splitlines():
        match = re.fullmatch(r"\s*(?P<key>[^:]+?)\s*:\s*(?P<value>-?\d+(?:\.\d+)?)\s*", line)
        if match is None:
            continue
        values[match["key"]] = float(match["value"])
        if match["key"] != "Chip ID":
            continue
        chip = int(values["Chip ID"])
        kind = "HBM" if "HBM Capacity(MB)" in values else "DDR"
        total = values.get(f"{kind} Capacity(MB)", 0.0) * _MEBIBYTE
        readings.append(
            DeviceReading(
                f"ascend:{card}" if chip == 0 else f"ascend:{card}.{chip}",
                total * values.get(f"{kind} Usage Rate(%)", 0.0) / 100,
                total,
                values.get("Aicore Usage Rate(%)", 0.0) / 100,
            )
        )
        values = {}
    return readings


def _readers_here() -> list[Callable[[], list[DeviceReading]]]:
    readers: list[Callable[[], list[DeviceReading]]] = []
    if is_available("pynvml"):
        readers.append(_read_nvidia)
    if shutil.which("npu-smi"):
        readers.append(_read_ascend)
    return readers


def _read_nvidia() -> list[DeviceReading]:
    import pynvml

    pynvml.nvmlInit()
    readings = []
    for number in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        rates = pynvml.nvmlDeviceGetUtilizationRates(handle)
        readings.append(DeviceReading(f"cuda:{number}", memory.used, memory.total, rates.gpu / 100))
    return readings


def _read_ascend() -> list[DeviceReading]:
    listed = _npu_smi("-l")
    cards = [int(number) for number in re.findall(r"NPU ID\s*:\s*(\d+)", listed)]
    return [
        reading
        for card in cards
        for reading in parse_npu_usages(_npu_smi("-t", "usages", "-i", str(card)), card)
    ]


def _npu_smi(*arguments: str) -> str:
    command = ["npu-smi", "info", *arguments]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=_NPU_SECONDS, check=True
    )
    return result.stdout
