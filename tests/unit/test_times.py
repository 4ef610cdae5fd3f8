from __future__ import annotations

import pytest

from longform.data.times import parse_times
from longform.errors import InputError


@pytest.mark.parametrize(
    "ascending",
    [
        ["1998", "1999.5", "2000", " 2001 "],
        ["-3", "0", "2e3", "1700000000000000001", "1700000000000000002"],
        ["2024-01", "2024-01-31", "2024-02-01T00:00", "2024-02-01 08:30:00.5"],
        ["20240131", "2024-02-01"],
        ["2024-01-31T23:00:00Z", "2024-02-01T00:30:00+01:00", "2024-01-31T20:00:00-05:00"],
    ],
)
def test_times_compare_as_they_should(ascending):
    ids = [str(n) for n in range(len(ascending))]
    parsed = parse_times(ascending, ids)
    order = parsed == sorted(parsed)
    if "Z" in ascending[0]:
        # 23:00, 23:30 and 01:00 of the next day, all in UTC.
        assert [time.hour for time in parsed] == [23, 0, 20]
    assert order


@pytest.mark.parametrize(
    ("times", "fault"),
    [
        (["2024-01-31", "31.1.2024"], r"neither a number nor an ISO date in 1 of 2 .* d1 \('31.1"),
        (["1", "nan"], r"neither .* d1 \('nan'\)"),
        (["1", "inf"], "neither"),
        (["1_000", "2"], r"neither .* d0 \('1_000'\)"),
        (["", "2024-01-31"], r"neither .* d0 \(''\)"),
        (["2024-13-01", "2024-01-01"], r"neither .* d0 \('2024-13-01'\)"),
        (["2024年1月31日", "2024-01-01"], "neither"),
        (["2023", "2024-01-01"], r"a number among dates in 1 of 2 documents: ids d0"),
        (["2024-01-01T00:00Z", "2024-01-02"], r"no time zone, while others have one .* d1"),
    ],
)
def test_times_that_cannot_be_compared_name_the_documents(times, fault):
    with pytest.raises(InputError, match=fault):
        parse_times(times, ["d0", "d1"])


def test_many_unreadable_times_are_counted():
    with pytest.raises(InputError, match=r"9 of 9 documents.* and 4 more"):
        parse_times(["soon"] * 9, [str(n) for n in range(9)])
