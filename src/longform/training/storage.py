"""Checkpoints mirrored to object storage, for machines whose disks go with them.

A checkpoint counts there as it does on a disk: by its mark, which is written last and names the
size of each file. So an upload that was killed leaves nothing that could be taken for a whole one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from longform.errors import ConfigError, InputError, LongformError, MissingExtraError
from longform.reporting import Reporter
from longform.training.checkpoint_moves import best_checkpoint, settle
from longform.training.checkpoints import COMPLETE, complete_checkpoints, step_of
from longform.training.run_folder import RECORD, require_same

Result = TypeVar("Result")


class CheckpointStorage(TrainerCallback):
    """The checkpoints of one run under a URL. As a callback it waits for the last upload.

    Args:
        url: Any that fsspec opens, such as `s3://bucket/run`.
        reporter: Told when an upload failed.

    Raises:
        ConfigError: The kind of URL is not known.
        MissingExtraError: The library of this kind of URL is not installed.
    """

    def __init__(self, url: str, reporter: Reporter) -> None:
        self.url = url
        self._reporter = reporter
        self._files, self._root = _open(url)
        # One thread: uploads keep their order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-upload")
        self._upload: Future[None] | None = None

    def claim(self, fingerprint: dict[str, Any], *, restart: bool = False) -> None:
        """Make sure that what lies there is of the same run, or nothing.

        Args:
            fingerprint: As `run_fingerprint` gives it.
            restart: Forget what lies there.

        Raises:
            InputError: It is of another run, or the storage cannot be read or written.
        """
        found = self._told(self._record)
        if found is not None and (restart or not self._told(self._steps)):
            self.forget()
            found = None
        if found is not None:
            require_same(self.url, found, fingerprint)
            return
        content = json.dumps(fingerprint, ensure_ascii=False, indent=2).encode()
        self._told(lambda: self._write(RECORD, content))

    def fetch_newer(self, folder: Path, than: int) -> str | None:
        """Fetch the newest complete checkpoint where it is of a later step, and the best one.

        Args:
            folder: Of the run's checkpoints.
            than: A step, -1 for none.

        Returns:
            Its name; None where there is none that is newer.

        Raises:
            InputError: The storage cannot be read.
        """
        newest = max(self._told(self._steps), default=-1)
        if newest <= than:
            return None
        name = f"checkpoint-{newest}"
        arrived = self._told(lambda: self._fetch(name, folder))
        best = best_checkpoint(arrived, name)
        if best is not None and not (folder / best / COMPLETE).is_file():
            settle(self._told(lambda: self._fetch(best, folder)), folder / best)
        # Last, so that a run that is killed meanwhile fetches both again.
        settle(arrived, folder / name)
        return name

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Wait for the last checkpoint to arrive."""
        self.wait()

    def mirror(self, folder: Path) -> None:
        """Begin to bring the complete checkpoints of a folder there, and remove all others.

        They must stay until `wait` returns.
        """
        self.wait()
        checkpoints = sorted(complete_checkpoints(folder), key=step_of)
        self._upload = self._thread.submit(self._mirror, checkpoints)

    def wait(self) -> None:
        """Wait for the upload that was begun, and say where it failed: training goes on."""
        if self._upload is None:
            return
        upload, self._upload = self._upload, None
        # The libraries of fsspec raise errors of their own.
        error = upload.exception()
        if isinstance(error, Exception):
            self._reporter.say(
                f"Warning: the last checkpoint did not get to {self.url} "
                f"({' '.join(str(error).split())[:300]}). It lies on this disk, and comes with the "
                "next one."
            )
        elif error is not None:
            raise error

    def forget(self) -> None:
        """Remove what the run left there.

        Raises:
            InputError: The storage cannot be changed.
        """
        self._told(lambda: self._remove([RECORD, *self._names()]))

    def _mirror(self, checkpoints: list[Path]) -> None:
        present = self._names()
        whole = self._steps()
        for checkpoint in checkpoints:
            if step_of(checkpoint) in whole:
                continue
            if checkpoint.name in present:
                # What a killed upload left could differ.
                self._remove([checkpoint.name])
            self._send(checkpoint)
        kept = {checkpoint.name for checkpoint in checkpoints}
        self._remove([name for name in present if name not in kept])

    def _send(self, checkpoint: Path) -> None:
        mark = (checkpoint / COMPLETE).read_bytes()
        for name in json.loads(mark):
            target = self._path(checkpoint.name, name)
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(checkpoint / name), target)
        self._write(f"{checkpoint.name}/{COMPLETE}", mark)

    def _fetch(self, name: str, folder: Path) -> Path:
        arrived = folder / f"{name}.part"
        shutil.rmtree(arrived, ignore_errors=True)
        for file in self._mark(name) or {}:
            (arrived / file).parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(self._path(name, file), str(arrived / file))
        return arrived

    def _steps(self) -> list[int]:
        """Return the steps of the checkpoints that are complete there."""
        return [step_of(Path(name)) for name in self._names() if self._mark(name) is not None]

    def _names(self) -> list[str]:
        """Return the names of all checkpoints there, complete or not."""
        self._files.invalidate_cache()
        if not self._files.exists(self._root):
            return []
        names = [entry.rstrip("/").rpartition("/")[2] for entry in self._listed()]
        return [name for name in names if name.removeprefix("checkpoint-").isdigit()]

    def _listed(self) -> list[str]:
        return [str(entry) for entry in self._files.ls(self._root, detail=False)]

    def _mark(self, name: str) -> dict[str, int] | None:
        """Return the files of a checkpoint with their sizes, where all are there in full."""
        entries = self._files.find(self._path(name), detail=True)
        sizes = {path.rpartition(f"/{name}/")[2]: info["size"] for path, info in entries.items()}
        if COMPLETE not in sizes:
            return None
        try:
            mark: dict[str, int] = json.loads(self._files.cat_file(self._path(name, COMPLETE)))
        except ValueError:
            return None
        return mark if all(sizes.get(file) == size for file, size in mark.items()) else None

    def _record(self) -> dict[str, Any] | None:
        self._files.invalidate_cache()
        if not self._files.exists(self._path(RECORD)):
            return None
        record: dict[str, Any] = json.loads(self._files.cat_file(self._path(RECORD)))
        return record

    def _write(self, name: str, content: bytes) -> None:
        path = self._path(name)
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(path, content)

    def _remove(self, names: list[str]) -> None:
        for name in names:
            if self._files.exists(self._path(name)):
                self._files.rm(self._path(name), recursive=True)

    def _path(self, *names: str) -> str:
        return "/".join([self._root, *names])

    def _told(self, action: Callable[[], Result]) -> Result:
        """Do something with the storage, whose failures are the user's to mend."""
        try:
            return action()
        except LongformError:
            raise
        # The libraries of fsspec raise errors of their own.
        except Exception as error:
            raise InputError(
                "The storage of the checkpoints must be readable and writable.",
                found=f"{self.url}: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
                fix="Check the address and the credentials, or leave out checkpoint_storage.",
            ) from error


def _open(url: str) -> tuple[Any, str]:
    try:
        files, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingExtraError(
            "Each kind of storage needs its own library.",
            found=f"checkpoint_storage: {url}, and {error}",
            fix="Install it: s3fs for s3://, gcsfs for gs://, adlfs for az://.",
        ) from error
    except ValueError as error:
        raise ConfigError(
            "checkpoint_storage must be a URL that fsspec knows.",
            found=f"{url} ({error})",
            fix="Write it such as s3://bucket/run.",
        ) from error
    return files, root.rstrip("/")
