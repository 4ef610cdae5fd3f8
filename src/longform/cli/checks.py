"""What commands ask of their flags before anything long begins."""

from __future__ import annotations

import re
from pathlib import Path

_UNITS = {"s": 1, "m": 60, "h": 3_600}


def required(work: str, value: str | Path | None, flag: str, what: str) -> Path:
    """Return a path that some work cannot do without.

    Args:
        work: What it is called, to begin a sentence with.
        value: As it was given.
        flag: That gives it.
        what: It is the path of.

    Raises:
        InputError: It was not given.
    """
    from longform.errors import InputError

    if value is None:
        raise InputError(f"{work} needs {what}.", found=f"no {flag}", fix=f"Add {flag} PATH.")
    return Path(value)


def prepare_report(report: Path, bundle: Path | None = None) -> None:
    """Refuse a place that a report cannot be written to; make its folder.

    Args:
        report: The file to be.
        bundle: A folder that it must not lie in: reports quote documents, and bundles travel.

    Raises:
        InputError: It lies in the bundle, or in a folder that cannot be made.
    """
    from longform.errors import InputError

    if bundle is not None and report.resolve().is_relative_to(bundle.resolve()):
        raise InputError(
            "A report may quote documents and stays out of the bundle.",
            found=f"--report {report}",
            fix="Choose a file elsewhere, or leave --report out.",
        )
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "The report must be written to a folder that is there or can be made.",
            found=f"{report.parent}: {error.strerror or error}",
            fix="Choose another place for --report.",
        ) from error


def parse_duration(text: str) -> float:
    """Read a time such as `90s`, `20m`, `1h30m` or `45` (seconds).

    Raises:
        InputError: It is not one, or nothing.
    """
    from longform.errors import InputError

    written = text.strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", written)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != written:
        seconds = float(written) if re.fullmatch(r"\d+(\.\d+)?", written) else 0.0
    if seconds <= 0:
        raise InputError(
            "A budget is a time above 0, with its unit.",
            found=f"'{text}'",
            fix="Write it such as 90s, 20m or 1h30m.",
        )
    return seconds
