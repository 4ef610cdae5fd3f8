"""Memory and utilisation of accelerators: NVIDIA through NVML, Ascend through npu-smi.

Both are looked at in the background, since npu-smi takes up to two seconds; a scrape gets what was
seen last. A machine without either has no such metrics. Ascend cards are also shown under the names
of npu-exporter, so that its dashboards can be used.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from longform.backends.ascend.npu_smi import Npu, UnknownLayoutError, read_npus
from longform.extras import is_available

logger = logging.getLogger(__name__)

_SECONDS = 10.0
_MEBIBYTE = 1_048_576


_NPU_GAUGES: dict[str, tuple[str, Callable[[Npu], float | None]]] = {
    "npu_chip_info_utilization": (
        "Per cent of the AI cores in use.",
        lambda npu: None if npu.utilization_ratio is None else 100 * npu.utilization_ratio,
    ),
    "npu_chip_info_hbm_used_memory": (
        "MB of memory in use.",
        lambda npu: None if npu.memory_used_bytes is None else npu.memory_used_bytes / _MEBIBYTE,
    ),
    "npu_chip_info_hbm_total_memory": (
        "MB of memory.",
        lambda npu: None if npu.memory_total_bytes is None else npu.memory_total_bytes / _MEBIBYTE,
    ),
    "npu_chip_info_temperature": ("Degrees Celsius.", lambda npu: npu.temperature_celsius),
    "npu_chip_info_power": ("Watts.", lambda npu: npu.power_watts),
    "npu_chip_info_health_status": ("1 when healthy, else 0.", lambda npu: npu.health == "OK"),
}
"""Names, units and meanings of npu-exporter."""


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """How one device is.

    Attributes:
        name: `cuda:0` or `ascend:0`, by the number that the system gives.
        memory_used_bytes: Of its memory.
        memory_total_bytes: Of its memory.
        utilization_ratio: Of the time, in which a kernel ran (NVML), or of the AI cores (npu-smi).
        npu: What else npu-smi says of an Ascend chip.
    """

    name: str
    memory_used_bytes: float
    memory_total_bytes: float
    utilization_ratio: float
    npu: Npu | None = None


class DeviceCollector(Collector):
    """Shows what was seen of the devices last, and the most memory that was seen.

    Args:
        readers: Ask each kind of device; those of this machine by default.
    """

    def __init__(self, readers: list[Callable[[], list[DeviceReading]]] | None = None) -> None:
        self._readers = _readers_here() if readers is None else readers
        self._seen: list[DeviceReading] = []
        self._peaks: dict[str, float] = {}
        self._unreadable = 0
        self._stop = threading.Event()
        if self._readers:
            threading.Thread(target=self._run, name="longform-devices", daemon=True).start()

    def look(self) -> None:
        """Ask every device once."""
        seen: list[DeviceReading] = []
        for read in list(self._readers):
            try:
                seen += read()
            except UnknownLayoutError as error:
                # It may be well again at the next look, and others are still to be read.
                self._unreadable += 1
                if self._unreadable == 1:
                    logger.warning("The Ascend cards are unknown: %s", error)
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
        yield from self._of_npus()

    def _of_npus(self) -> Iterator[Metric]:
        npus = [reading.npu for reading in self._seen if reading.npu is not None]
        if npus or self._unreadable:
            yield CounterMetricFamily(
                "longform_npu_smi_unknown",
                "Times that npu-smi failed or said what cannot be read.",
                self._unreadable,
            )
        for name, (documentation, value) in _NPU_GAUGES.items() if npus else ():
            gauge = GaugeMetricFamily(name, documentation, labels=["id", "model_name"])
            for npu in npus:
                number = value(npu)
                if number is not None:
                    gauge.add_metric([str(npu.card), npu.name], float(number))
            yield gauge

    def _run(self) -> None:
        while True:
            self.look()
            if not self._readers or self._stop.wait(_SECONDS):
                return


def _readers_here() -> list[Callable[[], list[DeviceReading]]]:
    readers: list[Callable[[], list[DeviceReading]]] = []
    if is_available("pynvml"):
        readers.append(_read_nvidia)
    if shutil.which("npu-smi"):
        readers.append(read_ascend)
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


def read_ascend() -> list[DeviceReading]:
    """Ask npu-smi once.

    Raises:
        UnknownLayoutError: What it says cannot be read.
    """
    return [
        DeviceReading(
            f"ascend:{npu.card}" if npu.chip == 0 else f"ascend:{npu.card}.{npu.chip}",
            npu.memory_used_bytes or 0.0,
            npu.memory_total_bytes or 0.0,
            npu.utilization_ratio or 0.0,
            npu,
        )
        for npu in read_npus()
    ]
