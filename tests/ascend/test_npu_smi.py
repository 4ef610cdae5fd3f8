"""The layouts of `npu-smi info`; names and forms as documented, the values are invented."""

from __future__ import annotations

import pytest

from longform.backends.ascend import npu_smi
from longform.backends.ascend.npu_smi import (
    UnknownLayoutError,
    parse_npus,
    parse_processes,
    read_npus,
)

BAR = "+---------------------------+---------------+--------------------------------------------+\n"
HEAD = (
    BAR + "| npu-smi {version}          Version: {version}                                     |\n"
    + BAR + "| NPU   Name           | Health        | Power(W) Temp(C) Hugepages-Usage(page)|\n"
    "| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)|\n"
    "+===========================+===============+============================================+\n"
)  # fmt: skip
CARDS = (
    "| 0     910B2               | OK            | 95.2        41                0    / 0     |\n"
    "| 0                         | 0000:C1:00.0  | 12          0    / 0          21874/ 65536 |\n"
    "+===========================+===============+============================================+\n"
    "| 1     910B2C              | Warning       | 90.0        40                0    / 0     |\n"
    "| 0                         | 0000:01:00.0  | 0           0    / 0          3344 / 65536 |\n"
    "+===========================+===============+============================================+\n"
)
PROCESSES = (
    BAR + "| NPU     Chip      | Process id    | Process name   | Process memory(MB)    |\n"
    "+===========================+===============+============================================+\n"
    "| 0       0                 | 41327         | python3.11     | 18512                     |\n"
    "| 0       0                 | 41400         |                | 120                       |\n"
    "| No running processes found in NPU 1                                      |\n" + BAR
)  # fmt: skip
CONTAINER = (
    "| 0       0                 | 41327         | python3.11     | 18512   | 77              |\n"
)
A310P = (
    "| 5     310P3               | OK            | NA          45                0    / 0     |\n"
    "| 0       0                 | 0000:83:00.0  | 0           1700 / 44280                    |\n"
)
MEBIBYTE = 2**20


@pytest.mark.parametrize("version", ["24.1.rc1", "25.0.rc1", "26.0.1"])
def test_two_cards_are_read_with_numbers_that_touch_the_stroke(version):
    one, two = parse_npus(HEAD.format(version=version) + CARDS + PROCESSES)
    assert (one.card, one.chip, one.name, one.health) == (0, 0, "910B2", "OK")
    assert (one.power_watts, one.temperature_celsius) == (95.2, 41)
    assert one.utilization_ratio == 0.12
    assert one.memory_used_bytes == 21874 * MEBIBYTE
    assert one.memory_total_bytes == 65536 * MEBIBYTE
    assert (two.card, two.name, two.health) == (1, "910B2C", "Warning")


def test_a_chip_without_high_bandwidth_memory_has_its_own():
    (npu,) = parse_npus(HEAD.format(version="25.5") + A310P)
    assert (npu.power_watts, npu.temperature_celsius) == (None, 45)
    assert npu.memory_total_bytes == 44280 * MEBIBYTE
    assert npu.utilization_ratio == 0


def test_processes_are_read_with_and_without_names_and_container_columns():
    first, second = parse_processes(HEAD.format(version="25") + CARDS + PROCESSES)
    assert (first.process_id, first.name, first.memory_bytes) == (
        41327,
        "python3.11",
        18512 * MEBIBYTE,
    )
    assert second.name == ""
    assert len(parse_processes(CONTAINER)) == 1


@pytest.mark.parametrize(
    "text",
    ["", "The device does not support querying.", HEAD.format(version="27"), "| a | b |", BAR * 4],
)
def test_other_outputs_give_no_cards(text):
    assert parse_npus(text) == []


def program(tmp_path, monkeypatch, script):
    path = tmp_path / "npu-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_a_program_that_fails_hangs_or_says_something_new_is_unknown(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "exit 1")
    with pytest.raises(UnknownLayoutError, match="exit status 1"):
        read_npus()
    program(tmp_path, monkeypatch, "echo The device does not support querying.")
    with pytest.raises(UnknownLayoutError, match="does not support"):
        read_npus()
    monkeypatch.setattr(npu_smi, "_SECONDS", 0.2)
    program(tmp_path, monkeypatch, "exec sleep 5")
    with pytest.raises(UnknownLayoutError, match="no answer"):
        read_npus()
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert read_npus() == []


def test_the_program_is_asked(tmp_path, monkeypatch):
    (tmp_path / "said").write_text(HEAD.format(version="25") + CARDS)
    program(tmp_path, monkeypatch, f"cat {tmp_path / 'said'}")
    assert [npu.name for npu in read_npus()] == ["910B2", "910B2C"]
