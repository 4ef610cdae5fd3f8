"""What the processes of several nodes compare before they begin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from longform.errors import InputError
from longform.training.nodes import Setup, folder_owner, require_alike, together
from longform.training.processes import join_processes

HERE = Setup("node 0 (one)", {"torch": "2.13"}, {"seed": 1, "segment_length": 128}, 90, "d1")
THERE = replace(HERE, node="node 1 (two)")


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (replace(THERE, versions={"torch": "2.12"}), "torch 2.12 there and 2.13 here"),
        (replace(THERE, settings={"seed": 2, "segment_length": 128}), "in seed"),
        (replace(THERE, documents=91), "has others (91 documents)"),
        (replace(THERE, digest="d2"), "has others (90 documents)"),
    ],
)
def test_node_that_differs_is_named_with_what_differs(other, told):
    with pytest.raises(InputError) as refused:
        require_alike([HERE, HERE, other])
    assert told in refused.value.found
    assert refused.value.found.startswith("node 1 (two)")


def test_second_process_of_a_node_need_not_digest_the_documents():
    require_alike([HERE, replace(HERE, digest=None), THERE, replace(THERE, digest=None)])


def test_one_process_owns_its_folder_and_leaves_nothing_there(tmp_path):
    assert folder_owner(tmp_path / "run") == 0
    assert list((tmp_path / "run").iterdir()) == []


def test_failure_of_the_only_process_stays_as_it_is():
    def fail() -> None:
        raise InputError("Rule.", found="that", fix="This.")

    with pytest.raises(InputError, match=r"Rule\."):
        together(fail)
    assert together(lambda: 3) == 3


def test_launch_that_would_hang_after_a_restart_is_refused(monkeypatch):
    for name, value in (("WORLD_SIZE", "2"), ("TORCHELASTIC_MAX_RESTARTS", "3")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with pytest.raises(InputError, match="TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        join_processes("cpu", 60)
