"""The Ascend compiler, `atc`: its command, its run, and what its output says.

Options and messages after CANN's documentation. Everything it says comes on standard output, the
errors too; an exit status of zero does not promise a file.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from longform.backends.ascend.gears import FEWEST_GEARS, MOST_GEARS, Gear
from longform.errors import ConfigError, LongformError

ONNX_FRAMEWORK = 5
PRECISION_MODES = ("mixed_bfloat16", "mixed_float16", "origin", "fp16")
DEFAULT_PRECISION_MODE = "mixed_float16"
"""Not the compiler's own default, fp16, in which sums of attention may overflow."""
_SOC_NAME = re.compile(r"Ascend\w+(-\d+)?")
_SUCCESS = "ATC run success"
_CODE = re.compile(r"\b(E[A-Z]?\d{4,5})\b")
_SUFFIXES = ("", "_linux_aarch64", "_linux_x86_64")
_ADVICE = {
    "E10001": "Export again; if it stays, send the command and this message.",
    "E10035": "A plan of one shape has too few gears: export with --replan.",
    "E10036": "It takes 100 gears at most: export with --replan.",
    "E10054": "The command lacks an option; is this atc older than CANN 8?",
    "E10410": "The file that is named must be there and be readable.",
    "E13000": "The folder of the output must be one that this user may write to.",
    "E13001": "The folder of the output must be one that this user may write to.",
    "E16002": "This CANN does not know an operator of the model: a newer one may.",
    "E16005": "Export again: the graph imports more than one opset.",
    "E19999": "The log under ~/ascend/log says more; a build host often lacks memory.",
    "EZ3002": "The operators' package of this chip must be installed beside CANN on this host.",
    "EZ3003": "The operators' package of this chip must be installed beside CANN on this host.",
    "EI0006": "HCCL could not connect in time: check the cards' network, HCCL_IF_IP and "
    "HCCL_SOCKET_IFNAME.",
}


class CompilerError(LongformError):
    """`atc` failed.

    Attributes:
        codes: The codes in what it said, in order.
        output: All that it said.
    """

    def __init__(self, rule: str, *, found: str, fix: str, output: str) -> None:
        super().__init__(rule, found=found, fix=fix)
        self.output = output
        self.codes = list(dict.fromkeys(_CODE.findall(output)))


@dataclass(frozen=True, slots=True)
class Compilation:
    """One run of the compiler.

    Attributes:
        model: The ONNX file.
        output: Path of the result without `.om`.
        gears: Shapes of the encoder.
        soc_version: The chip, `Ascend910B2`.
        precision_mode: One of `PRECISION_MODES`.
    """

    model: Path
    output: Path
    gears: tuple[Gear, ...]
    soc_version: str
    precision_mode: str = DEFAULT_PRECISION_MODE

    def check(self) -> None:
        """Refuse what the compiler would refuse.

        Raises:
            ConfigError: The chip, the precision mode or the gears are not as it wants them.
        """
        if not _SOC_NAME.fullmatch(self.soc_version):
            raise ConfigError(
                "The chip must be named as the compiler names it.",
                found=repr(self.soc_version),
                fix="It is 'Ascend' and the name that 'npu-smi info' shows: Ascend910B2.",
            )
        if self.precision_mode not in PRECISION_MODES:
            raise ConfigError(
                f"The precision mode must be one of {', '.join(PRECISION_MODES)}.",
                found=repr(self.precision_mode),
            )
        if not FEWEST_GEARS <= len(self.gears) <= MOST_GEARS:
            raise ConfigError(
                f"The compiler takes {FEWEST_GEARS} to {MOST_GEARS} gears.",
                found=f"{len(self.gears)}",
                fix="Export with --replan.",
            )

    def command(self) -> list[str]:
        """Return the command line."""
        dims = ";".join(
            f"{gear.rows},{gear.length},{gear.rows},{gear.length}" for gear in self.gears
        )
        return [
            "atc",
            f"--model={self.model}",
            f"--framework={ONNX_FRAMEWORK}",
            f"--output={self.output}",
            "--input_format=ND",
            "--input_shape=input_ids:-1,-1;attention_mask:-1,-1",
            f"--dynamic_dims={dims}",
            f"--soc_version={self.soc_version}",
            f"--precision_mode_v2={self.precision_mode}",
            "--output_type=FP32",
            "--log=error",
        ]

    def script(self) -> str:
        """Return the command as a shell script, to be run where the compiler is."""
        lines = " \\\n  ".join(map(shlex.quote, self.command()))
        return (
            "#!/bin/sh\nset -eu\n"
            "# Run where CANN is, after: source /usr/local/Ascend/ascend-toolkit/set_env.sh\n"
            f'cd "$(dirname "$0")/.."\n{lines}\n'
        )


def is_installed() -> bool:
    """Tell whether `atc` is among the programs."""
    return shutil.which("atc") is not None


def compile_model(compilation: Compilation, folder: Path) -> Path:
    """Run the compiler.

    Args:
        compilation: What to run; its paths are relative to `folder`.
        folder: Where to run it.

    Returns:
        The file that it wrote, renamed to `<output>.om`.

    Raises:
        ConfigError: It would be refused.
        CompilerError: The compiler failed, or wrote nothing.
    """
    compilation.check()
    done = subprocess.run(
        compilation.command(),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    written = find_output(folder / compilation.output)
    if done.returncode or _SUCCESS not in done.stdout:
        raise _failure(done.returncode, done.stdout)
    if written is None:
        raise CompilerError(
            "The compiler must write a model.",
            found="it says that it succeeded, and there is no file",
            fix=f"Look into {compilation.output.parent} for another name.",
            output=done.stdout,
        )
    target = folder / compilation.output.with_name(compilation.output.name + ".om")
    # A name with the system in it says that it runs on that system alone; ours is in gears.json.
    return written.replace(target)


def find_output(output: Path) -> Path | None:
    """Return the file of a compilation, under whichever of its names it was written."""
    for suffix in _SUFFIXES:
        path = output.with_name(f"{output.name}{suffix}.om")
        if path.is_file():
            return path
    return next(iter(sorted(output.parent.glob(f"{output.name}*.om"))), None)


def describe_failure(output: str) -> tuple[str, str]:
    """Return what the compiler found wrong, in its own words, and what helps.

    Messages come as `Title(E10001): ...`, as `E10001: ...` of older versions, or as a bare code.
    """
    codes = list(dict.fromkeys(_CODE.findall(output)))
    lines = [line.strip() for line in output.splitlines()]
    telling = [line for line in lines if _CODE.search(line)] or [line for line in lines if line]
    found = " / ".join(telling[:3])[:500] or "no output"
    cause = next((line for line in lines if line.lower().startswith("possible cause:")), "")
    advice = next((_ADVICE[code] for code in codes if code in _ADVICE), "")
    return found + (f" / {cause[:200]}" if cause else ""), advice


def _failure(status: int, output: str) -> CompilerError:
    found, advice = describe_failure(output)
    if status < 0:
        found = f"it was ended by signal {-status}, for want of memory perhaps; {found}"
        advice = advice or "Compile on a host with more memory, or with fewer gears."
    return CompilerError(
        "The compiler must make a model of the exported encoder.",
        found=f"exit status {status}: {found}",
        fix=advice or "The log under ~/ascend/log says more; ascend/build.sh has the command.",
        output=output,
    )


def soc_from_names(names: Sequence[str]) -> str | None:
    """Return the chip of the cards of a machine; None where there are none or different ones."""
    chips = {f"Ascend{name.removeprefix('Ascend')}" for name in names}
    return chips.pop() if len(chips) == 1 else None
