"""Whether a folder of wheels holds all that an installation elsewhere asks for."""

from __future__ import annotations

import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


def markers_of(platform: str, python: str) -> dict[str, str]:
    """Return what the markers of packages are judged by: Linux, CPython, that processor."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": platform,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def read_metadata(folder: Path) -> dict[str, Message]:
    """Read the metadata of every wheel, by the canonical name of its project."""
    found = {}
    for path in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(path) as wheel:
            (name,) = [one for one in wheel.namelist() if one.endswith(".dist-info/METADATA")][:1]
            metadata = HeaderParser().parsestr(wheel.read(name).decode("utf-8"))
        found[canonicalize_name(metadata["Name"])] = metadata
    return found


def unmet(folder: Path, installed: list[str], environment: dict[str, str]) -> list[str]:
    """List requirements that no wheel of a folder meets.

    Args:
        folder: The wheels.
        installed: What will be installed, as pip takes it.
        environment: Of the machine that they are for; see `markers_of`.

    Returns:
        Each with who asks for it and what there is.
    """
    wheels = read_metadata(folder)
    waiting = [(Requirement(line), "the installation") for line in installed]
    seen: set[tuple[str, str]] = set()
    missing = []
    while waiting:
        wanted, by = waiting.pop()
        name = canonicalize_name(wanted.name)
        metadata = wheels.get(name)
        if metadata is None:
            missing.append(f"{wanted} for {by}: no wheel")
            continue
        if not wanted.specifier.contains(Version(metadata["Version"]), prereleases=True):
            missing.append(f"{wanted} for {by}: only {metadata['Version']}")
        for extra in {"", *wanted.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += _requirements(metadata, extra, environment, name)
    return sorted(set(missing))


def _requirements(
    metadata: Message, extra: str, environment: dict[str, str], name: str
) -> list[tuple[Requirement, str]]:
    lines = [Requirement(line) for line in metadata.get_all("Requires-Dist") or []]
    return [
        (line, name)
        for line in lines
        if line.marker is None or line.marker.evaluate({**environment, "extra": extra})
    ]
