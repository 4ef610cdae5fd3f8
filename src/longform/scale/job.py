"""A bulk job: what it is of, what is finished of it, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longform.bundle import Bundle
from longform.config import DataSettings
from longform.errors import InputError
from longform.scale.answers import ANSWERS, ERRORS, PartAccount, read_account
from longform.scale.parts import PartLimits
from longform.scale.scoring import ScoringSettings
from longform.scale.sources import InputFile
from longform.scale.storage import WRITING, Storage
from longform.search.folder import FolderKind, claimed_folder, differing_parts, refuse_other

RECORD = "job.json"
FILES = "files.json"
SUMMARY = "summary.json"
_NOUN = "bulk job"
_READ_BY = ("text_column", "text_pair_column", "encoding", "encoding_errors")
_FOOTERS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class BulkJob:
    """Documents to score and how, alike for all engines.

    Attributes:
        scoring: What workers are told.
        files: Where the documents are.
        settings: How they are read.
        limits: How they are cut into parts.
    """

    scoring: ScoringSettings
    files: tuple[InputFile, ...]
    settings: DataSettings
    limits: PartLimits

    def identity(self) -> dict[str, dict[str, Any]]:
        """Return what must be the same for a job to be continued."""
        return {
            "documents": {item.path: [item.size, item.modified] for item in self.files},
            "bundle": {"digest": self.scoring.digest},
            "settings": {
                **self.settings.model_dump(mode="json", include=set(_READ_BY)),
                **asdict(self.limits),
                "top_k": self.scoring.top_k,
            },
        }


@dataclass(frozen=True, slots=True)
class FileWork:
    """What is left to do of a file.

    Attributes:
        file: The file.
        finished: Numbers of its parts that are done.
    """

    file: InputFile
    finished: frozenset[int]


class Progress:
    """What is finished of a job.

    Args:
        accounts: Of the finished parts.
    """

    def __init__(self, accounts: Iterable[PartAccount] = ()) -> None:
        self.accounts = {account.name: account for account in accounts}

    def add(self, account: PartAccount) -> bool:
        """Count a part; tell whether it was not counted before."""
        is_new = account.name not in self.accounts
        self.accounts[account.name] = account
        return is_new

    def work(self, files: Sequence[InputFile]) -> list[FileWork]:
        """Return the files that are not finished, with their finished parts.

        The part in which a file could not be read on is not: the next run tries again.
        """
        numbers: dict[int, dict[int, bool]] = {}
        for name, account in self.accounts.items():
            if not account.failed:
                numbers.setdefault(name.file, {})[name.number] = account.is_last
        left = []
        for file in files:
            known = numbers.get(file.number, {})
            last = next((number for number, is_last in known.items() if is_last), None)
            if last is None or len(known) <= last:
                left.append(FileWork(file, frozenset(known)))
        return left

    def totals(self) -> dict[str, int]:
        """Return what all finished parts add up to."""
        accounts = self.accounts.values()
        return {
            "documents": sum(item.answers for item in accounts),
            "error_rows": sum(item.errors for item in accounts),
            "truncated": sum(item.truncated for item in accounts),
            "tokens": sum(item.tokens for item in accounts),
            "parts": len(self.accounts),
            "failed_files": len({name.file for name, item in self.accounts.items() if item.failed}),
        }


@contextmanager
def claimed_output(job: BulkJob, *, resume: bool, restart: bool) -> Iterator[Progress]:
    """Hold the output of a job, and tell what is finished there.

    A local folder is locked against a second process; an object storage has no locks.

    Args:
        job: The job.
        resume: Refuse an output where there is nothing to go on with.
        restart: Forget what is there.

    Raises:
        InputError: The output is of another job or of something else, in use, or not as asked.
    """
    storage = Storage(job.scoring.output)
    with ExitStack() as stack:
        if storage.is_local and "://" not in storage.place:
            kind = FolderKind(_NOUN, RECORD, frozenset({ANSWERS}), lambda _: _forget(storage))
            folder = Path(storage.place)
            if resume:
                _require_begun(storage)
            stack.enter_context(claimed_folder(folder, job.identity(), kind, restart=restart))
        else:
            _claim_remote(storage, job, resume=resume, restart=restart)
        storage.write_json({str(item.number): item.path for item in job.files}, FILES)
        storage.remove(WRITING)
        progress = Progress(_read_accounts(storage))
        for name, account in progress.accounts.items():
            if account.failed:
                # It is tried again: what it says of the file now may not hold any more.
                storage.remove(name.path(ERRORS))
        yield progress
        storage.remove(WRITING)


def write_summary(job: BulkJob, content: dict[str, Any]) -> None:
    """Leave the account of a finished job beside its answers."""
    Storage(job.scoring.output).write_json(content, SUMMARY)


def make_scoring(
    bundle: Bundle, output: str, backend: str, top_k: int | None, threads: int
) -> ScoringSettings:
    """Describe the work of a worker; the bundle's folder as an absolute path."""
    folder = str(bundle.folder.resolve())
    return ScoringSettings(folder, bundle.digest, output, backend, top_k, threads)


def _read_accounts(storage: Storage) -> list[PartAccount]:
    names = [name for name in storage.names(ANSWERS) if name.endswith(".parquet")]
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        return list(pool.map(lambda name: read_account(storage, name), names))


def _claim_remote(storage: Storage, job: BulkJob, *, resume: bool, restart: bool) -> None:
    found = storage.read_json(RECORD)
    if resume:
        _require_begun(storage)
    if found is None and storage.names(""):
        raise InputError(
            f"The output of a {_NOUN} must be a new prefix, or that of an earlier {_NOUN}.",
            found=f"files and no {RECORD} in {storage.place}",
            fix="Choose another --output; longform never deletes what it did not write.",
        )
    if restart:
        _forget(storage)
        found = None
    if found is not None:
        refuse_other(differing_parts(found, job.identity()), _NOUN, storage.place)
        return
    storage.write_json(job.identity(), RECORD)


def _require_begun(storage: Storage) -> None:
    if storage.read_json(RECORD) is None:
        raise InputError(
            "--resume goes on with a job that was interrupted.",
            found=f"no {RECORD} in {storage.place}",
            fix="Check --output, or leave --resume out to begin a job there.",
        )


def _forget(storage: Storage) -> None:
    for name in (ANSWERS, ERRORS, RECORD, FILES, SUMMARY):
        storage.remove(name)
