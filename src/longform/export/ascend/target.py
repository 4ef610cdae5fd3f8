"""`longform export --target ascend`: the encoder for a card, checked, compiled and judged.

Where the compiler is not installed its command is written down, to be run where it is; then nothing
was compiled and nothing compared. The head stays on ONNX Runtime's CPU: it is tiny and of any
segment count, which gears are not made for.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shlex
from pathlib import Path

from longform.backends.ascend.gears import GEARS_FILE, CompiledEncoder, plan_gears
from longform.backends.ascend.npu_smi import UnknownLayoutError, read_npus
from longform.bundle import ENCODER_FILE, HEAD_FILE
from longform.errors import ConfigError
from longform.export.ascend.atc import Compilation, compile_model, is_installed, soc_from_names
from longform.export.ascend.conformance import require_conformance
from longform.export.context import ExportContext
from longform.extras import require

COMMAND_FILE = "ascend/build.sh"
_OUTPUT = Path("ascend/encoder")


def make_ascend(context: ExportContext) -> None:
    """Check the graphs, write the command, and compile and judge where that can be done.

    Raises:
        GateError: A graph has what the compiler does not know; it lists the nodes.
        ConfigError: The chip is not known, or not named as the compiler names it.
        CompilerError: The compiler failed.
    """
    onnx = require("onnx", "An export for Ascend")
    for name, path in ((ENCODER_FILE, context.encoder), (HEAD_FILE, context.head)):
        require_conformance(name, onnx.load(str(path), load_external_data=False))
    context.reporter.say("  Every operator of both graphs is known to the Ascend compiler.")
    compilation = Compilation(
        Path(ENCODER_FILE),
        _OUTPUT,
        plan_gears(context.plan),
        context.options.soc or _soc_of_this_machine(),
        context.options.precision_mode,
    )
    compilation.check()
    _write_description(context, compilation)
    context.reporter.say(f"  {shlex.join(compilation.command())}")
    if context.options.dry_run or not is_installed():
        why = "asked for" if context.options.dry_run else "atc is not installed here"
        context.reporter.say(
            f"  Nothing was compiled and nothing compared ({why}). Run {COMMAND_FILE} where CANN "
            "is, then 'longform export' again on a machine with the card."
        )
        return
    compile_model(compilation, context.folder)
    if importlib.util.find_spec("acl") is None:
        context.reporter.say(
            "  Compiled, and not compared: pyACL is not here. Run 'longform export' again on a "
            "machine with the card."
        )
        return
    _judge(context)


def _judge(context: ExportContext) -> None:
    from longform.backends.ascend.backend import AscendBackend
    from longform.backends.ascend.gears import read_compiled

    compiled = read_compiled((context.folder / GEARS_FILE).read_text(encoding="utf-8"))
    backend = AscendBackend(compiled, context.folder, context.head)
    details = {
        "soc_version": compiled.soc_version,
        "precision_mode": compiled.precision_mode,
        "gears": len(compiled.gears),
    }
    record = context.judge(f"ascend:{backend.info.precision}", backend, details)
    if not record.passed:
        for path in (context.folder / _OUTPUT.parent).iterdir():
            path.unlink()
        (context.folder / _OUTPUT.parent).rmdir()


def _write_description(context: ExportContext, compilation: Compilation) -> None:
    folder = (context.folder / COMMAND_FILE).parent
    folder.mkdir(exist_ok=True)
    (context.folder / COMMAND_FILE).write_text(compilation.script(), encoding="utf-8")
    compiled = CompiledEncoder(
        file=f"{_OUTPUT.as_posix()}.om",
        soc_version=compilation.soc_version,
        precision_mode=compilation.precision_mode,
        gears=compilation.gears,
        sha256=hashlib.sha256(context.encoder.read_bytes()).hexdigest(),
        command=tuple(compilation.command()),
    )
    (context.folder / GEARS_FILE).write_text(compiled.as_json(), encoding="utf-8")


def _soc_of_this_machine() -> str:
    found = "no npu-smi with cards of one kind on this machine"
    try:
        soc = soc_from_names([npu.name for npu in read_npus()])
    except UnknownLayoutError as error:
        soc, found = None, str(error)
    if soc is None:
        raise ConfigError(
            "The chip that the encoder is compiled for must be known.",
            found=found,
            fix="Name it, as 'npu-smi info' shows it where it will run: --soc Ascend910B2",
        )
    return soc
