"""Which backend runs a bundle on this machine: by name, or the fastest by a short measurement."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np

from longform.backends.ascend.gears import GEARS_FILE, read_compiled
from longform.backends.base import Backend
from longform.backends.onnx import OnnxBackend, Provider, has_provider, provider_is_missing
from longform.backends.onnx import Precision as OnnxPrecision
from longform.backends.processor import has_bf16_units, has_nvidia_gpu, processor_name
from longform.backends.threads import granted_threads
from longform.bundle import ENCODER_FILE, SHAPES_FILE, Bundle, stage_bundles
from longform.config import LOOK_UP_ENCODERS
from longform.errors import InputError
from longform.extras import is_available, require
from longform.reporting import Reporter
from longform.shapes import ShapePlan, plan_shapes, read_plan
from longform.types import SegmentBatch

COMPILED = "torch-compiled"
BACKENDS = (
    "auto",
    "onnx",
    "cuda",
    "tensorrt",
    "openvino",
    "torch",
    COMPILED,
    "torch-export",
    "torchscript",
    "ascend",
    "cann",
)
_PROVIDER_BACKENDS = frozenset({"cuda", "tensorrt", "cann"})
PACKAGES = {"torch-export": ".pt2", "torchscript": ".torchscript.pt"}
"""Packages of torch, by the ends of their file names."""
INT8_ENCODER = "openvino/encoder.int8.xml"
STATIC_INT8_ENCODER = "openvino/encoder.int8-static.xml"
ONNX_INT8_ENCODER = "onnx/encoder.int8.onnx"
FP16_ENCODER = "onnx/encoder.fp16.onnx"
ONNX_FILES = {"fp32": ENCODER_FILE, "int8": ONNX_INT8_ENCODER, "fp16": FP16_ENCODER}

OPENVINO_FILES = {"int8": INT8_ENCODER, "int8-static": STATIC_INT8_ENCODER}
"""Precision -> file of the encoder; in any other it is the ONNX file, converted as it is loaded."""

_MEASURED_TOKENS = 4_096
_MEASURED_IDS = 64
"""Different token ids that are measured with: every vocabulary has as many."""
_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A runtime and a precision that a bundle can run in, written `name:precision`."""

    name: str
    precision: str
    on_request: bool = False
    """Opened only by its name, since opening it takes minutes."""

    def __str__(self) -> str:
        return f"{self.name}:{self.precision}"


def candidates(bundle: Bundle) -> list[Candidate]:
    """List what can run this bundle here, the reference-like ones first.

    A target that the parity gate refused is not in it.
    """
    if bundle.description.kind != "neural":
        return _candidates_of_others(bundle)
    found = [
        Candidate("onnx", precision) for precision, file in ONNX_FILES.items() if bundle.has(file)
    ]
    reduced = [] if not has_bf16_units() else ["bf16"]
    found += [
        Candidate(provider, precision)
        for provider, precision in (("cuda", "fp32"), ("cuda", "fp16"), ("tensorrt", "fp16"))
        if has_provider(cast(Provider, provider))
        and bundle.has(_provider_file(provider, precision))
    ]
    if bundle.has(GEARS_FILE) and is_available("acl"):
        compiled = read_compiled(bundle.path(GEARS_FILE).read_text(encoding="utf-8"))
        if bundle.has(compiled.file):
            found.append(Candidate("ascend", compiled.precision))
    if has_provider("cann") and bundle.has(ENCODER_FILE):
        found.append(Candidate("cann", "fp32", on_request=True))
    if is_available("openvino") and runs_on_openvino(
        str(bundle.description.knobs.model.get("encoder"))
    ):
        found += [Candidate("openvino", precision) for precision in ("fp32", *reduced)]
        found += [
            Candidate("openvino", precision)
            for precision, file in OPENVINO_FILES.items()
            if bundle.has(file)
        ]
    if is_available("torch") and is_available("transformers"):
        if has_nvidia_gpu():
            reduced = ["bf16", "fp16"]
        for name, on_request in (("torch", False), (COMPILED, True)):
            found += [Candidate(name, each, on_request) for each in ("fp32", *reduced)]
    if is_available("torch"):
        found += [
            Candidate(name, "fp32")
            for name, suffix in PACKAGES.items()
            if bundle.has(f"torch/encoder{suffix}")
        ]
    return [candidate for candidate in found if _passed_parity(bundle, candidate)]


def _candidates_of_others(bundle: Bundle) -> list[Candidate]:
    """List what can run a model that has no encoder of its own."""
    if bundle.description.kind == "linear":
        return [Candidate("numpy", str(bundle.description.training["precision"]))]
    # Of a cascade, the last stage is asked for; the others run wherever they are fastest.
    return candidates(stage_bundles(bundle)[-1])


def open_candidate(bundle: Bundle, candidate: Candidate) -> Backend:
    """Open a bundle with one runtime and precision."""
    encoder, head = bundle.path("onnx/encoder.onnx"), bundle.path("onnx/head.onnx")
    if candidate.name == "onnx":
        precision = cast(OnnxPrecision, candidate.precision)
        return OnnxBackend(bundle.path(ONNX_FILES[precision]), head, precision)
    if candidate.name in {"cuda", "tensorrt"}:
        precision = cast(OnnxPrecision, candidate.precision)
        return OnnxBackend(
            bundle.path(_provider_file(candidate.name, precision)),
            head,
            precision,
            provider=cast(Provider, candidate.name),
            plan=shape_plan(bundle),
            engines=_state_folder() / "tensorrt",
        )
    if candidate.name == "ascend":
        from longform.backends.ascend.backend import AscendBackend

        compiled = read_compiled(bundle.path(GEARS_FILE).read_text(encoding="utf-8"))
        return AscendBackend(compiled, bundle.folder, head)
    if candidate.name == "cann":
        from longform.backends.ascend.cann_provider import CannProviderBackend

        return CannProviderBackend(encoder, head, shape_plan(bundle))
    if candidate.name == "openvino":
        from longform.backends.openvino import OpenVINOBackend, Precision

        own = OPENVINO_FILES.get(candidate.precision)
        source = encoder if own is None else bundle.path(own)
        return OpenVINOBackend(source, head, cast(Precision, candidate.precision))
    require("torch", f"The backend '{candidate.name}'")
    if candidate.name in PACKAGES:
        return _open_package(bundle, candidate.name)
    require("transformers", f"The backend '{candidate.name}'")
    from longform.backends.torch import Precision as TorchPrecision
    from longform.backends.torch import TorchBackend

    torch_precision = cast(TorchPrecision, candidate.precision)
    if candidate.name == COMPILED:
        from longform.backends.torch_compiled import CompiledTorchBackend

        plan = shape_plan(bundle)
        return CompiledTorchBackend.from_bundle(bundle.folder, plan, torch_precision)
    return TorchBackend.from_folder(bundle.folder, torch_precision)


def _provider_file(provider: str, precision: str) -> str:
    """Return the file of a GPU provider; TensorRT rounds the fp32 file as it builds."""
    return ENCODER_FILE if provider == "tensorrt" else ONNX_FILES[precision]


def shape_plan(bundle: Bundle) -> ShapePlan:
    """Return the shapes that a bundle was planned for; one that has no plan gets the plain one."""
    if bundle.has(SHAPES_FILE):
        return read_plan(bundle.path(SHAPES_FILE).read_text(encoding="utf-8"))
    return plan_shapes([], bundle.description.knobs.segments.segment_length)


def _open_package(bundle: Bundle, name: str) -> Backend:
    from longform.backends.torch_package import ExportedBackend, PackageFiles, ScriptedBackend

    files = PackageFiles.within(bundle.folder, PACKAGES[name])
    backends = {"torch-export": ExportedBackend, "torchscript": ScriptedBackend}
    return backends[name](files)


def open_backend(bundle: Bundle, name: str = "auto", reporter: Reporter | None = None) -> Backend:
    """Open a bundle with a backend.

    Args:
        bundle: A verified bundle.
        name: `onnx`, `openvino`, `torch`, one of these with a precision (`openvino:int8`), or
            `auto` for the fastest here. The measurement behind `auto` is made once for each
            encoder and machine and kept in the state folder.
        reporter: Told when a measurement is made.

    Raises:
        InputError: The name is unknown, or this bundle cannot run so here.
        MissingExtraError: The backend's library is not installed.
    """
    runtime, _, precision = name.partition(":")
    if runtime not in BACKENDS:
        raise InputError(
            "The backend must be one that longform has.",
            found=f"'{name}'",
            fix=f"Choose one of {', '.join(BACKENDS)}.",
        )
    if runtime in _PROVIDER_BACKENDS and not has_provider(cast(Provider, runtime)):
        raise provider_is_missing(cast(Provider, runtime), ["CPUExecutionProvider"])
    library = "torch" if runtime in {COMPILED, *PACKAGES} else runtime
    if library in {"openvino", "torch"}:
        require(library, f"The backend '{runtime}'")
    fitting = _fitting(bundle, runtime, precision)
    if not fitting:
        raise InputError(
            "The bundle must have a file for the backend and pass its parity gate.",
            found=f"nothing in {bundle.folder.name} for '{name}' on this machine",
            fix=f"Choose one of {', '.join(map(str, candidates(bundle)))}.",
        )
    return open_candidate(bundle, _fastest(bundle, fitting, reporter or Reporter()))


def default_backend(bundle: Bundle, reporter: Reporter) -> str:
    """Say and return what `auto` opens here, `name:precision`, measured now if it never was."""
    default = str(_fastest(bundle, _fitting(bundle, "auto"), reporter))
    reporter.say(f"Default backend on this machine: {default}.")
    return default


def _fitting(bundle: Bundle, runtime: str, precision: str = "") -> list[Candidate]:
    """List what a name, with a precision or without, may stand for."""
    return [
        candidate
        for candidate in candidates(bundle)
        if (runtime == candidate.name or (runtime == "auto" and not candidate.on_request))
        and precision in {"", candidate.precision}
    ]


def machine_name() -> str:
    """Describe this machine in one line: processor, threads, system."""
    return (
        f"{processor_name()}, {granted_threads()} threads, {platform.system()} {platform.machine()}"
    )


def tokens_per_second(backend: Backend, segment_length: int) -> float:
    """Measure how fast a backend encodes full segments: the best of a few batches."""
    rows = max(1, _MEASURED_TOKENS // segment_length)
    ids = np.random.default_rng(0).integers(0, _MEASURED_IDS, (rows, segment_length))
    batch = SegmentBatch(ids, np.ones_like(ids))
    backend.encode(batch)
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        backend.encode(batch)
        seconds.append(time.perf_counter() - started)
    return rows * segment_length / min(seconds)


def _fastest(bundle: Bundle, fitting: list[Candidate], reporter: Reporter) -> Candidate:
    # An encoder that only looks up embeddings is bound by memory: no runtime is faster.
    if len(fitting) == 1 or looks_up(bundle):
        return fitting[0]
    record = _state_folder() / "backends" / f"{_measurement_key(bundle, fitting)}.json"
    if record.is_file():
        chosen = json.loads(record.read_text(encoding="utf-8"))["chosen"]
        return next(candidate for candidate in fitting if str(candidate) == chosen)
    rates: dict[str, float] = {}
    with reporter.track("Measuring backends", len(fitting), unit="backends") as advance:
        for candidate in fitting:
            backend = open_candidate(bundle, candidate)
            length = bundle.description.knobs.segments.segment_length
            rates[str(candidate)] = round(tokens_per_second(backend, length))
            backend.close()
            advance(1)
    best = max(fitting, key=lambda candidate: rates[str(candidate)])
    listed = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
    reporter.say(f"Measured once for this machine, tokens/s: {listed}. Using {best}.")
    try:
        _write_record(record, {"chosen": str(best), "rates": rates, "machine": machine_name()})
    except OSError as error:
        reporter.say(
            f"The measurement cannot be kept in {record.parent} ({error.strerror}), so it is made "
            "each time. Name a folder that can be written: LONGFORM_STATE."
        )
    return best


def looks_up(bundle: Bundle) -> bool:
    """Tell whether the encoder of a bundle computes nothing: it looks token vectors up."""
    return bundle.description.knobs.model.get("encoder") in LOOK_UP_ENCODERS


def _write_record(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
    temporary.replace(path)


def _measurement_key(bundle: Bundle, fitting: list[Candidate]) -> str:
    versions = [
        f"{library} {metadata.version(library)}"
        for library in ("onnxruntime", "openvino", "torch")
        if is_available(library)
    ]
    description = bundle.description
    parts = [
        description.encoder_digest,
        str(description.knobs.segments.segment_length),
        machine_name(),
        *versions,
        *map(str, fitting),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _state_folder() -> Path:
    """Return where measurements are kept: never in a bundle, which may be read-only."""
    own = os.environ.get("LONGFORM_STATE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "longform"


def _passed_parity(bundle: Bundle, candidate: Candidate) -> bool:
    """Tell whether the parity record refuses a candidate; one it does not name may run."""
    if not bundle.has("parity.json"):
        return True
    records = json.loads(bundle.path("parity.json").read_text(encoding="utf-8"))["targets"]
    return bool(records.get(str(candidate), {}).get("passed", True))


def runs_on_openvino(encoder: str) -> bool:
    """Tell whether OpenVINO computes an encoder as it is meant.

    It computes the remainder of the pair hash of `bag` inexactly.
    """
    return encoder != "bag"
