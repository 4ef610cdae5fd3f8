"""The worker: opens one backend on one device, proves it, and encodes what the front sends.

Started by the front as `python -m longform.serving.workers.process SOCKET SETTINGS`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import zmq

from longform.backends.base import Backend
from longform.bundle import load_bundle
from longform.errors import BundleError, LongformError
from longform.inference.predictor import Predictor, load
from longform.serving.workers.frames import Array, pack, unpack
from longform.types import SegmentBatch

logger = logging.getLogger(__name__)

_LOOK_MILLISECONDS = 500


def main(address: str, settings: dict[str, Any]) -> int:
    """Open, say so, and answer until the front is gone.

    Args:
        address: Of the front's socket.
        settings: `bundle`, the folder; `digest` that it must have; `backend`.

    Returns:
        The exit status: 0 after the front left, 1 when the backend could not be opened.
    """
    # Ctrl-C goes to all processes of a terminal; the front decides when the worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    context = zmq.Context()
    socket = context.socket(zmq.PAIR)
    socket.connect(address)
    try:
        predictor = _open(settings)
    except LongformError as error:
        failure = {"state": "failed", "kind": type(error).__name__, "error": str(error)}
        socket.send_multipart(pack(failure))
        socket.close(linger=2_000)
        context.term()
        return 1
    socket.send_multipart(pack(_introduction(predictor)))
    _answer_all(socket, predictor)
    predictor.close()
    socket.close(linger=0)
    context.term()
    return 0


def _open(settings: dict[str, Any]) -> Predictor:
    bundle = load_bundle(Path(settings["bundle"]))
    if bundle.digest != settings["digest"]:
        raise BundleError(
            "A worker must open the bundle that the server opened.",
            found=f"{settings['bundle']} holds another one now",
            fix="Reload the model.",
        )
    predictor = load(bundle, settings["backend"])
    predictor.warm_up()
    predictor.check_golden()
    return predictor


def _backend(predictor: Predictor) -> Backend:
    backend = predictor.scorer.encoder_backend
    # Only models with an encoder are given to workers.
    assert backend is not None
    return backend


def _introduction(predictor: Predictor) -> dict[str, Any]:
    backend = _backend(predictor)
    return {
        "state": "ready",
        "info": dataclasses.asdict(backend.info),
        "token_budget": backend.token_budget,
        "streams": backend.streams,
        "memory": backend.memory,
    }


def _answer_all(socket: zmq.Socket, predictor: Predictor) -> None:
    parent = os.getppid()
    while True:
        if not socket.poll(_LOOK_MILLISECONDS):
            if os.getppid() != parent:
                # The front is gone, and nobody else would end this process.
                return
            continue
        header, arrays = unpack(socket.recv_multipart())
        if header["call"] == "stop":
            return
        try:
            results = _CALLS[header["call"]](predictor, arrays)
            memory = _backend(predictor).memory
        except Exception as error:
            # The type alone: a library's message may quote what it was given.
            logger.error("A batch failed: %s", type(error).__name__)
            socket.send_multipart(pack({"failed": type(error).__name__}))
        else:
            socket.send_multipart(pack({"memory": memory}, results))


def _encode(predictor: Predictor, arrays: list[Array]) -> list[Array]:
    pairs = zip(arrays[::2], arrays[1::2], strict=True)
    batches = [SegmentBatch(input_ids, mask) for input_ids, mask in pairs]
    return list(_backend(predictor).encode_all(batches))


def _score(predictor: Predictor, arrays: list[Array]) -> list[Array]:
    vectors, mask, positions = arrays
    return [_backend(predictor).score(vectors, mask, positions)]


_CALLS = {"encode": _encode, "score": _score}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))
