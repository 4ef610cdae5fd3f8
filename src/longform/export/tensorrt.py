"""TensorRT: the command that builds an engine for the planned shapes, and its profiles.

An engine holds for one kind of GPU and one version of TensorRT, so it is built where it will run:
by the command that is written here, or by ONNX Runtime's provider, which keeps what it built.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from typing import Any

from longform.backends.onnx import OnnxBackend, has_provider
from longform.errors import LongformError
from longform.export.context import ExportContext
from longform.shapes import ShapePlan

COMMAND_FILE = "tensorrt/build.sh"
PROFILES_FILE = "tensorrt/profiles.json"
ENGINE_FILE = "tensorrt/encoder.engine"
_INPUTS = ("input_ids", "attention_mask")
_WORKSPACE_MIB = 4_096


def trtexec_command(onnx: str, engine: str, plan: ShapePlan) -> list[str]:
    """Return the command that builds an engine in fp16 with TensorRT 10.

    `--workspace` is gone since TensorRT 10; `--memPoolSize` bounds the same memory.

    Args:
        onnx: Path of the encoder.
        engine: Path to write to.
        plan: Its buckets become profiles.
    """
    command = ["trtexec", f"--onnx={onnx}", f"--saveEngine={engine}", "--fp16"]
    command += [f"--memPoolSize=workspace:{_WORKSPACE_MIB}", "--skipInference"]
    for number, profile in enumerate(plan.ranges()):
        command += [
            f"--profile={number}",
            f"--minShapes={_shapes(profile.least)}",
            f"--optShapes={_shapes(profile.best)}",
            f"--maxShapes={_shapes(profile.most)}",
        ]
    return command


def make_tensorrt(context: ExportContext) -> None:
    """Write the command and the profiles; build and judge where TensorRT is.

    Raises:
        LongformError: `trtexec` is here and failed.
    """
    folder = (context.folder / COMMAND_FILE).parent
    folder.mkdir(exist_ok=True)
    command = trtexec_command("onnx/encoder.onnx", ENGINE_FILE, context.plan)
    script = "#!/bin/sh\nset -eu\n# Run on the machine that will serve, from any folder.\n"
    script += 'cd "$(dirname "$0")/.."\n' + " \\\n  ".join(map(shlex.quote, command)) + "\n"
    (context.folder / COMMAND_FILE).write_text(script, encoding="utf-8")
    content: dict[str, Any] = {
        "inputs": list(_INPUTS),
        "profiles": [
            {"min": item.least, "opt": item.best, "max": item.most}
            for item in context.plan.ranges()
        ],
    }
    (context.folder / PROFILES_FILE).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    context.reporter.say("  " + " ".join(command))
    if shutil.which("trtexec") is None:
        context.reporter.say(
            f"  trtexec is not installed here: nothing was built and nothing compared. Run "
            f"{COMMAND_FILE} on the GPU machine, or let ONNX Runtime build with --backend tensorrt."
        )
    else:
        _build(context, command)
    if has_provider("tensorrt"):
        backend = OnnxBackend(
            context.encoder, context.head, "fp16", provider="tensorrt", plan=context.plan
        )
        context.judge("tensorrt:fp16", backend)


def _build(context: ExportContext, command: list[str]) -> None:
    done = subprocess.run(command, cwd=context.folder, capture_output=True, text=True, check=False)
    if done.returncode or not (context.folder / ENGINE_FILE).is_file():
        tail = " / ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise LongformError(
            "trtexec must build an engine from the exported encoder.",
            found=f"exit status {done.returncode}: {tail or 'no output and no engine'}",
            fix=f"Run the command of {COMMAND_FILE} by hand to see its whole output.",
        )


def _shapes(shape: tuple[int, int]) -> str:
    return ",".join(f"{name}:{shape[0]}x{shape[1]}" for name in _INPUTS)
