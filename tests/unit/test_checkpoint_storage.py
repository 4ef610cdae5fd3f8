"""Checkpoints under a URL: whole or not counted, fetched where the disk has none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import fsspec
import pytest

from longform.errors import ConfigError, InputError, MissingExtraError
from longform.reporting import Reporter
from longform.training.checkpoints import (
    COMPLETE,
    complete_checkpoints,
    last_complete_checkpoint,
    mark_complete,
)
from longform.training.run_folder import run_fingerprint
from longform.training.storage import CheckpointStorage

RUN = run_fingerprint({"seed": 1}, "digest")


class Notes(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def write_checkpoint(folder: Path, step: int, best: int | None = None) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "inner").mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(bytes([step]) * 1_000)
    (checkpoint / "inner" / "rng.pth").write_bytes(b"random")
    state = {"best_model_checkpoint": None if best is None else f"/old/checkpoint-{best}"}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    mark_complete(checkpoint)
    return checkpoint


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/bucket/run"
    return f"memory://{tmp_path.name}/run"


def test_mirrored_checkpoints_come_back_with_the_best_one(url, tmp_path):
    storage = CheckpointStorage(url, Reporter())
    storage.claim(RUN)
    for step in (1, 2, 3):
        write_checkpoint(tmp_path / "old", step, best=2)
    storage.mirror(tmp_path / "old")
    storage.wait()
    new = CheckpointStorage(url, Reporter())
    new.claim(RUN)
    assert new.fetch_newer(tmp_path / "new", than=-1) == "checkpoint-3"
    names = sorted(path.name for path in complete_checkpoints(tmp_path / "new"))
    assert names == ["checkpoint-2", "checkpoint-3"]
    fetched = tmp_path / "new" / "checkpoint-3"
    assert (fetched / "model.safetensors").read_bytes() == bytes([3]) * 1_000
    assert (fetched / "inner" / "rng.pth").read_bytes() == b"random"
    state = json.loads((fetched / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == str(tmp_path / "new" / "checkpoint-2")
    assert new.fetch_newer(tmp_path / "new", than=3) is None


def test_checkpoint_removed_here_is_removed_there(url, tmp_path):
    storage = CheckpointStorage(url, Reporter())
    storage.claim(RUN)
    write_checkpoint(tmp_path, 1)
    storage.mirror(tmp_path)
    storage.wait()
    (tmp_path / "checkpoint-1" / COMPLETE).unlink()
    write_checkpoint(tmp_path, 2)
    storage.mirror(tmp_path)
    storage.wait()
    files, root = fsspec.core.url_to_fs(url)
    assert not files.exists(f"{root}/checkpoint-1")
    storage.forget()
    assert not files.exists(f"{root}/checkpoint-2")
    assert not files.exists(f"{root}/run.json")


@pytest.mark.parametrize("killed_after", [0, 1, 2, 3])
def test_killed_upload_does_not_count_and_is_done_again(url, tmp_path, monkeypatch, killed_after):
    storage = CheckpointStorage(url, notes := Notes())
    storage.claim(RUN)
    write_checkpoint(tmp_path / "here", 1)
    storage.mirror(tmp_path / "here")
    storage.wait()
    write_checkpoint(tmp_path / "here", 2, best=1)
    files, root = fsspec.core.url_to_fs(url)
    sent = []

    def put(source, target):
        if len(sent) == killed_after:
            # As an object store that takes writes in place: half of a file.
            files.pipe_file(target, Path(source).read_bytes()[:3])
            raise ConnectionError("the network is gone")
        sent.append(target)
        type(files).put_file(files, source, target)

    def write(path, content):
        if path.endswith(COMPLETE):
            files.pipe_file(f"{path}.half", content[:5])
            raise ConnectionError("the network is gone")

    broken = type("Broken", (), {"__getattr__": lambda self, name: getattr(files, name)})()
    broken.put_file, broken.pipe_file = put, write
    monkeypatch.setattr(storage, "_files", broken)
    storage.mirror(tmp_path / "here")
    storage.wait()
    assert "the network is gone" in notes.said[-1]
    fresh = CheckpointStorage(url, Reporter())
    assert fresh.fetch_newer(tmp_path / "there", than=-1) == "checkpoint-1"
    fresh.mirror(tmp_path / "here")
    fresh.wait()
    assert fresh.fetch_newer(tmp_path / "there", than=1) == "checkpoint-2"
    assert last_complete_checkpoint(tmp_path / "there").name == "checkpoint-2"
    assert not files.exists(f"{root}/checkpoint-2/{COMPLETE}.half")


def test_storage_of_another_run_is_refused_and_forgotten_on_demand(url, tmp_path):
    storage = CheckpointStorage(url, Reporter())
    storage.claim(RUN)
    write_checkpoint(tmp_path, 1)
    storage.mirror(tmp_path)
    storage.wait()
    other = run_fingerprint({"seed": 2}, "digest")
    with pytest.raises(InputError, match="differs in seed"):
        storage.claim(other)
    storage.claim(other, restart=True)
    assert storage.fetch_newer(tmp_path / "new", than=-1) is None


def test_missing_library_and_unknown_kind_are_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtraError, match="s3fs"):
        CheckpointStorage("s3://bucket/run", Reporter())
    with pytest.raises(ConfigError, match="nowhere://"):
        CheckpointStorage("nowhere://bucket/run", Reporter())
