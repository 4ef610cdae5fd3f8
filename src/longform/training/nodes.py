"""Several nodes: what their processes must have in common, and which of them share a folder.

A node that began with another file, or another version of a library, would train all the same: on
gradients that do not belong together. So the processes compare what they have before they begin.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

import longform
from longform.errors import InputError, LongformError
from longform.training.processes import everyone

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a process begins a run with.

    Attributes:
        node: The node's number and name, as users know it.
        versions: Of the libraries that decide the result.
        settings: Of the run; all that decides its result.
        documents: How many were read.
        digest: Of the documents. None is compared with nothing: one process of a node is enough.
    """

    node: str
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    documents: int
    digest: str | None

    @classmethod
    def here(cls, settings: Mapping[str, Any], documents: int, digest: str | None) -> Setup:
        """Return what this process begins with."""
        versions = {
            "longform": longform.__version__,
            "torch": torch.__version__,
            "transformers": version("transformers"),
        }
        return cls(node_name(), versions, settings, documents, digest)


def node_name() -> str:
    """Return the node's number in the launch and its name in the network."""
    return f"node {os.environ.get('GROUP_RANK', '0')} ({socket.gethostname()})"


def is_first_of_node() -> bool:
    """Tell whether this is the first process of its node, or the only one."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def require_alike(setups: Sequence[Setup]) -> None:
    """Make sure that all processes train the same model on the same documents.

    Args:
        setups: Of all processes, in their order.

    Raises:
        InputError: One differs from the first; it names the node and what differs.
    """
    first = setups[0]
    for other in setups[1:]:
        libraries = _different(first.versions, other.versions)
        if libraries:
            found = [
                f"{name} {other.versions.get(name)} there and {first.versions.get(name)} here"
                for name in libraries
            ]
            raise InputError(
                "All nodes of a run must have the same libraries.",
                found=f"{other.node} differs from {first.node}: {', '.join(found)}",
                fix="Install the same versions on that node, such as from one image.",
            )
        settings = _different(first.settings, other.settings)
        if settings:
            raise InputError(
                "All nodes of a run must have the same settings.",
                found=f"{other.node} differs from {first.node} in {', '.join(settings)}",
                fix="Give the same configuration and --set on every node; only paths may differ.",
            )
        digests = (first.digest, other.digest)
        if first.documents != other.documents or (None not in digests and len(set(digests)) > 1):
            raise InputError(
                "All nodes of a run must read the same documents, in the same order.",
                found=f"{other.node} has others ({other.documents:,} documents) than {first.node} "
                f"({first.documents:,} documents)",
                fix="Copy the files of the first node to that node again.",
            )


def require_same_start(encoder: str, tokenizer: str) -> None:
    """Make sure that all processes begin from the same encoder. Every process must call it.

    Args:
        encoder: Digest of its weights.
        tokenizer: Digest of its tokenizer.

    Raises:
        InputError: One differs from the first; it names the node and what differs.
    """
    starts = everyone((node_name(), {"weights": encoder, "tokenizer": tokenizer}))
    for node, start in starts[1:]:
        differing = _different(starts[0][1], start)
        if differing:
            raise InputError(
                "All nodes of a run must begin from the same encoder.",
                found=f"{node} has another than {starts[0][0]} ({', '.join(differing)})",
                fix="Copy the folder of the encoder to that node again.",
            )


def together(action: Callable[[], Result]) -> Result:
    """Do something on every process, and end on every process where it fails on one.

    Args:
        action: May raise errors for the user.

    Raises:
        InputError: It failed on another node, which is named with its reason.
    """
    failure: LongformError | None = None
    result: Result | None = None
    try:
        result = action()
    except LongformError as error:
        failure = error
    told = None if failure is None else (node_name(), failure.found, failure.fix)
    for answer in everyone(told):
        if failure is not None:
            raise failure
        if answer is not None:
            node, found, fix = answer
            raise InputError(
                "Every node must be able to begin the run.", found=f"{node}: {found}", fix=fix
            )
    return result  # type: ignore[return-value]


def folder_owner(folder: Path) -> int:
    """Return the first process that sees the same folder as this one: it writes there for all.

    Nodes may share a file system or have disks of their own. No path tells which, so each process
    leaves a file, and looks for those of the others.

    Args:
        folder: Is made where it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A name that nobody has asked for yet, so that no network file system remembers its absence.
    name = f".process-{uuid.uuid4().hex}"
    (folder / name).touch()
    visible = [(folder / other).is_file() for other in everyone(name)]
    everyone(None)
    (folder / name).unlink()
    return visible.index(True)


def _different(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    keys = dict.fromkeys([*first, *second])
    return [key for key in keys if first.get(key) != second.get(key)]
