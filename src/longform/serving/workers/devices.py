"""Which devices a server is to use: `cpu`, `cuda:0,1`, `ascend:0,1`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from longform.errors import ConfigError

_FORM = re.compile(r"(?P<kind>cpu|cuda|ascend)(?::(?P<numbers>\d+(?:,\d+)*))?")
_VISIBLE = {"cuda": "CUDA_VISIBLE_DEVICES", "ascend": "ASCEND_RT_VISIBLE_DEVICES"}


@dataclass(frozen=True, slots=True)
class Device:
    """One device.

    Attributes:
        name: As users write it, `cuda:1`.
        environment: What lets a process see this device and no other.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)


def parse_devices(written: str) -> list[Device]:
    """Read a list of devices.

    Raises:
        ConfigError: It is of another form, or names a device twice.
    """
    match = _FORM.fullmatch(written.strip())
    numbers = [] if match is None or match["numbers"] is None else match["numbers"].split(",")
    if match is None or (match["kind"] == "cpu" and numbers) or len(set(numbers)) < len(numbers):
        raise ConfigError(
            "--devices must be cpu, or cuda or ascend with numbers, each once.",
            found=repr(written),
            fix="For example: --devices cuda:0,1",
        )
    kind = match["kind"]
    if kind == "cpu":
        return [Device("cpu")]
    return [Device(f"{kind}:{number}", {_VISIBLE[kind]: number}) for number in numbers or ["0"]]
