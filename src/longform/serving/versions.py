"""The versions behind the name of a model, and which of them answers a request."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from longform.errors import InputError, LongformError
from longform.serving.service import PredictionService
from longform.serving.trials import Trial


class UnknownModelError(InputError):
    """A request names a model or a version that is not served."""


class ModelRefusedError(LongformError):
    """A version may not take the place it was loaded for; what was served before still is."""


@dataclass(eq=False)
class LoadedVersion:
    """One version of one model.

    Attributes:
        service: What answers.
        folder: Where its bundle is.
        leases: Requests that it is answering.
        is_retired: Whether it takes no new requests and is closed after its last lease.
    """

    service: PredictionService
    folder: Path
    leases: int = 0
    is_retired: bool = False

    @property
    def digest(self) -> str:
        """Of the bundle's manifest; empty while it is loading."""
        predictor = self.service.predictor
        return "" if predictor is None else predictor.bundle.digest


@dataclass(eq=False)
class ServedModel:
    """A name and the versions behind it.

    Attributes:
        name: Of the model.
        current: The version that answers.
        versions: All that are loaded, `current` among them.
        previous: Folder and digest of the version that was current before.
        trial: A version on trial, beside `current`.
        last_trial: What became of the trial before.
    """

    name: str
    current: str
    versions: dict[str, LoadedVersion] = field(default_factory=dict)
    previous: tuple[Path, str] | None = None
    trial: Trial | None = None
    last_trial: Trial | None = None
    loading: threading.Lock = field(default_factory=threading.Lock)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def serving(self) -> LoadedVersion:
        """The version that answers when the request does not say which."""
        return self.versions[self.current]

    def choose(self, version: str | None) -> LoadedVersion:
        """Return the version for a request.

        Raises:
            UnknownModelError: There is no such version.
        """
        if version is None:
            trial = self.trial
            if trial is not None and trial.takes_next():
                return self.versions[trial.version]
            return self.serving
        if version not in self.versions or self.versions[version].is_retired:
            raise UnknownModelError(
                "The version must be one that is served here.",
                found=f"{version[:20]!a} of '{self.name}'",
                fix=f"Ask for one of {', '.join(sorted(self.versions))}.",
            )
        return self.versions[version]


def require_same_task(serving: LoadedVersion, loaded: LoadedVersion) -> None:
    """Refuse a version that judges by other labels than the one it is to replace.

    Raises:
        ModelRefusedError: Labels, or the kind of document, differ.
    """
    old, new = serving.service.predictor, loaded.service.loaded_predictor()
    if old is None:
        return
    before, after = set(old.rule.labels), set(new.rule.labels)
    pairs = (old.bundle.description.text_pair, new.bundle.description.text_pair)
    kinds = (old.rule.problem_type, new.rule.problem_type)
    if before == after and pairs[0] == pairs[1] and kinds[0] == kinds[1]:
        return
    differing = sorted(before ^ after)[:3]
    raise ModelRefusedError(
        "A new version must judge the same labels by the same kind of document.",
        found=f"labels of one alone: {', '.join(differing)}" if differing else "another task",
        fix="Serve it under a name of its own, or allow other labels.",
    )
