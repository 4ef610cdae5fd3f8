"""Times as files write them, made comparable, strictly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from longform.errors import InputError

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)
_MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)
_NAMED = 5

Time = Decimal | datetime


def parse_times(times: Sequence[str], ids: Sequence[str]) -> list[Time]:
    """Return times that can be compared with each other.

    Args:
        times: All of them numbers, such as years or seconds, or all of them ISO 8601 dates, with or
            without a time of day. `20240131` is a number among numbers and a date among dates.
        ids: Of the documents that the times are of, for errors.

    Raises:
        InputError: A time is neither, numbers and dates are mixed, or only some dates have a time
            zone.
    """
    values = [value.strip() for value in times]
    if all(_NUMBER.fullmatch(value) for value in values):
        return [Decimal(value) for value in values]
    dates = [_parse_date(value) for value in values]
    parsed = [date for date in dates if date is not None]
    if len(parsed) < len(dates):
        wrong = [place for place, date in enumerate(dates) if date is None]
        unreadable = [place for place in wrong if not _NUMBER.fullmatch(values[place])]
        what = "neither a number nor an ISO date" if unreadable else "a number among dates"
        raise _describe("is " + what, unreadable or wrong, times, ids)
    zoned = [date.tzinfo is not None for date in parsed]
    if any(zoned) and not all(zoned):
        wrong = [place for place, has_zone in enumerate(zoned) if not has_zone]
        raise _describe("has no time zone, while others have one", wrong, times, ids)
    return list(parsed)


def _parse_date(value: str) -> datetime | None:
    if _MONTH.fullmatch(value):
        value += "-01"
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def _describe(
    fault: str, places: Sequence[int], times: Sequence[str], ids: Sequence[str]
) -> InputError:
    named = ", ".join(f"{ids[place]} ('{times[place]}')" for place in places[:_NAMED])
    more = f" and {len(places) - _NAMED:,} more" if len(places) > _NAMED else ""
    return InputError(
        "The times of the documents must all be numbers, or all be ISO 8601 dates.",
        found=f"the time {fault} in {len(places):,} of {len(times):,} documents: ids {named}{more}",
        fix="Write the column time_column as 2024-01-31 or 2024-01-31T08:30, or as plain numbers.",
    )
