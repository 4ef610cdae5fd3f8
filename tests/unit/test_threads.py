from __future__ import annotations

import os

import pytest

from longform.backends import threads
from longform.errors import InputError


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 16 CPUs without any limit, in files that a test may write."""
    monkeypatch.delenv("LONGFORM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(threads, "_CGROUP_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(threads, "_CGROUP_V1_QUOTA", tmp_path / "quota")
    monkeypatch.setattr(threads, "_CGROUP_V1_PERIOD", tmp_path / "period")
    return tmp_path


def test_without_a_limit_all_cpus_of_the_affinity_are_used(machine):
    assert threads.granted_threads() == 16


@pytest.mark.parametrize(
    ("limit", "granted"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("max 100000\n", 16),
        ("9900000 100000\n", 16),
    ],
)
def test_a_container_gets_what_its_quota_pays_for(machine, limit, granted):
    (machine / "cpu.max").write_text(limit)
    assert threads.granted_threads() == granted


@pytest.mark.parametrize(("quota", "granted"), [("400000\n", 4), ("-1\n", 16), ("1000\n", 1)])
def test_older_containers_are_understood(machine, quota, granted):
    (machine / "quota").write_text(quota)
    (machine / "period").write_text("100000\n")
    assert threads.granted_threads() == granted


def test_a_machine_without_affinity_counts_its_cpus(machine, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert threads.granted_threads() == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads.granted_threads() == 1


def test_the_user_has_the_last_word(machine, monkeypatch):
    (machine / "cpu.max").write_text("200000 100000\n")
    monkeypatch.setenv("LONGFORM_THREADS", "5")
    assert threads.granted_threads() == 5
    monkeypatch.setenv("LONGFORM_THREADS", "")
    assert threads.granted_threads() == 2


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5", "²"])
def test_a_wrong_number_of_threads_is_refused(machine, monkeypatch, value):
    monkeypatch.setenv("LONGFORM_THREADS", value)
    with pytest.raises(InputError, match="LONGFORM_THREADS must be a positive whole number"):
        threads.granted_threads()
