"""`longform bench`: how fast a bundle is on each backend, and how far that is from the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longform.cli.arguments import (
    AsJson,
    BundleFolder,
    Encoding,
    TextColumn,
    TextPairColumn,
    data_settings,
    print_json,
)

if TYPE_CHECKING:
    from longform.bundle import Bundle
    from longform.evaluation.benchmark import Speed, Workload
    from longform.evaluation.turns import Contender
    from longform.types import Document

BASELINE = "plain loop"
_ALONE = 20


def bench(  # noqa: PLR0913 - one argument for each flag
    bundle: BundleFolder,
    data: Annotated[Path, typer.Option(help="Documents to read; labels are not needed.")],
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="A backend with its precision, such as openvino:bf16; may be given several times.",
            show_default="all that run here",
        ),
    ] = None,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline",
            help="Also the loop that people write: 512 characters at a time, padded to 512 "
            "tokens, fp32.",
        ),
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")] = 3,
    limit: Annotated[int | None, typer.Option(min=1, help="Read so many documents.")] = None,
    text_column: TextColumn = None,
    text_pair_column: TextPairColumn = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Measure backends side by side, each in its own process, in turns within one run."""
    from longform.bundle import load_bundle
    from longform.evaluation.benchmark import figures, measure_workload
    from longform.evaluation.turns import take_turns
    from longform.reporting import ConsoleReporter

    reporter = ConsoleReporter()
    opened = load_bundle(bundle)
    documents = _documents(opened, data, limit, text_column, text_pair_column, encoding)
    contenders = _contenders(opened, backend, baseline)
    workload = measure_workload(opened.folder, documents)
    reporter.say(
        f"{workload.documents:,} documents, {workload.tokens:,} tokens, {workload.gflops:,.0f} "
        f"GFLOP in the encoder; {len(contenders)} contenders take turns, {rounds} rounds."
    )
    turns = take_turns(contenders, documents, rounds, documents[:_ALONE], reporter)
    labels = {item.name: item.labels for item in turns}
    speeds = figures(turns, workload, labels.get("onnx:fp32") or turns[0].labels)
    if as_json:
        print_json(_as_json(workload, speeds))
    else:
        _print(speeds)
    for warning in _warnings(speeds):
        reporter.say(warning)
    if all(speed.failure for speed in speeds):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class PlainContender:
    """The plain loop over a bundle's encoder and head. See `turns.Contender`."""

    folder: Path

    @property
    def name(self) -> str:
        """What the table calls it."""
        return BASELINE

    def open(self) -> PlainRunner:
        """Load it with torch."""
        return PlainRunner(self.folder)


class PlainRunner:
    """The plain loop, opened. See `turns.Runner`."""

    def __init__(self, folder: Path) -> None:
        from longform.backends.threads import granted_threads
        from longform.bundle import load_bundle
        from longform.models.plain_loop import PlainLoop

        description = load_bundle(folder).description
        self._labels = description.labels
        prefix = description.knobs.segments.segment_prefix
        self._loop = PlainLoop(folder, prefix, granted_threads())

    def run(self, documents: Sequence[Document]) -> list[str]:
        """Classify one document after the other."""
        rows = (int(self._loop.logits(document.text).argmax()) for document in documents)
        return [self._labels[row] for row in rows]

    def matrix_rate(self) -> float | None:
        """Return the GFLOP/s of a large fp32 product in torch."""
        import torch

        from longform.backends.base import MATRIX_SIZE, best_rate

        left, right = (torch.randn(MATRIX_SIZE, MATRIX_SIZE) for _ in range(2))
        return best_rate(lambda: left @ right)

    def close(self) -> None:
        """Nothing is held beyond the process."""


def _documents(
    bundle: Bundle,
    data: Path,
    limit: int | None,
    text_column: str | None,
    text_pair_column: str | None,
    encoding: str | None,
) -> Sequence[Document]:
    from longform.data.readers import read_documents
    from longform.errors import InputError

    settings = data_settings(
        bundle, text_column=text_column, text_pair_column=text_pair_column, encoding=encoding
    )
    documents = read_documents(data, settings, labelled=False).documents[:limit]
    if not documents:
        raise InputError(
            "A benchmark needs documents.", found=f"none in {data}", fix="Give another file."
        )
    return documents


def _contenders(bundle: Bundle, backends: list[str] | None, baseline: bool) -> list[Contender]:
    from longform.backends.choice import candidates
    from longform.errors import InputError
    from longform.evaluation.benchmark import BundleContender

    found_here = candidates(bundle)
    possible = [str(candidate) for candidate in found_here]
    default = [str(candidate) for candidate in found_here if not candidate.on_request]
    chosen = [
        name
        for asked in backends or default
        for name in possible
        if name == asked or name.partition(":")[0] == asked
    ]
    unknown = [asked for asked in backends or () if not any(n.startswith(asked) for n in possible)]
    if unknown:
        raise InputError(
            "A backend must be one that this bundle can run on here.",
            found=", ".join(f"'{name}'" for name in unknown),
            fix=f"Choose of {', '.join(possible)}.",
        )
    found: list[Contender] = [
        BundleContender(bundle.folder, name) for name in dict.fromkeys(chosen)
    ]
    if baseline and (bundle.description.text_pair or _has_no_pretrained_encoder(bundle)):
        raise InputError(
            "The plain loop reads single texts with a pretrained encoder.",
            found=f"a bundle of {bundle.description.knobs.model.get('encoder')}",
            fix="Leave --baseline out.",
        )
    return [PlainContender(bundle.folder), *found] if baseline else found


def _has_no_pretrained_encoder(bundle: Bundle) -> bool:
    from longform.config import SCRATCH_ENCODERS

    return bundle.description.knobs.model.get("encoder") in SCRATCH_ENCODERS


def _as_json(workload: Workload, speeds: Sequence[Speed]) -> dict[str, Any]:
    from dataclasses import asdict

    from longform.backends.choice import machine_name

    return {
        "machine": machine_name(),
        "workload": asdict(workload),
        "contenders": [speed.as_dict() for speed in speeds],
    }


def _print(speeds: Sequence[Speed]) -> None:
    from rich.console import Console
    from rich.table import Table

    rates = [speed.documents_per_second for speed in speeds if speed.documents_per_second]
    base = next((s.documents_per_second for s in speeds if s.name == BASELINE), None)
    base = base or min(rates, default=1.0)
    table = Table(box=None, pad_edge=False)
    columns = ("documents/s", "over first", "tokens/s", "p50 ms", "p95", "p99", "MB", "GFLOP/s")
    for name in ("backend", *columns, "of ceiling", "same label"):
        table.add_column(name, justify="left" if name == "backend" else "right", no_wrap=True)
    failed = []
    for speed in sorted(speeds, key=lambda speed: speed.documents_per_second or 0.0):
        if speed.documents_per_second is None:
            failed.append(speed)
            continue
        table.add_row(
            speed.name,
            f"{speed.documents_per_second:.2f}",
            f"{speed.documents_per_second / base:.2f} x",
            _number(speed.tokens_per_second),
            *(_number(value) for value in (speed.p50_ms, speed.p95_ms, speed.p99_ms)),
            _number(speed.memory_mb),
            _number(speed.gflops_per_second),
            _percent(speed.share_of_ceiling, speed.ceiling),
            "-" if speed.agreement is None else f"{100 * speed.agreement:.1f} %",
        )
    Console(width=None if Console().is_terminal else 140).print(table)
    for speed in failed:
        typer.echo(f"{speed.name}: did not run: {speed.failure}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _percent(share: float | None, ceiling: float | None) -> str:
    return "-" if share is None or ceiling is None else f"{100 * share:.0f} % of {ceiling:,.0f}"


def _warnings(speeds: Sequence[Speed]) -> list[str]:
    """Say what is fastest, and when int8 costs accuracy for nothing."""
    ran = {s.name: s.documents_per_second for s in speeds if s.documents_per_second}
    ran.pop(BASELINE, None)
    if not ran:
        return []
    best = max(ran, key=lambda name: ran[name])
    said = [f"Fastest here: {best}. Take it with --backend {best}; auto measures for itself."]
    floats = {name: rate for name, rate in ran.items() if "int8" not in name}
    for name, rate in ran.items():
        if "int8" in name and floats and rate < max(floats.values()):
            faster = max(floats, key=lambda other: floats[other])
            said.append(f"{name} is slower than {faster} here: it saves memory and no time.")
    return said
