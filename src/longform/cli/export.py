"""`longform export`: further targets for a bundle, through the parity gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longform.cli.arguments import (
    AsJson,
    BundleFolder,
    Encoding,
    EncodingErrors,
    LabelColumn,
    LabelSeparator,
    TextColumn,
    TextPairColumn,
    data_settings,
    print_json,
)

if TYPE_CHECKING:
    from longform.export.options import ExportOptions
    from longform.export.parity import ParityRecord


Targets = Annotated[
    list[str],
    typer.Option(
        help="What to make; may be given several times: onnx, onnx-fp16, int8, int8-dynamic, "
        "int8-static, openvino, openvino-static, tensorrt, torch, torchscript, ascend.",
    ),
]
DataFile = Annotated[
    Path,
    typer.Option(
        help="Labelled documents that the model was not trained on: targets are compared with "
        "the trained model on them, and calibrated."
    ),
]
SocVersion = Annotated[
    str | None,
    typer.Option(
        help="Ascend chip to compile for, such as Ascend910B2.", show_default="by npu-smi"
    ),
]
PrecisionMode = Annotated[
    str,
    typer.Option(
        help="In which an Ascend chip computes: mixed_float16, mixed_bfloat16, origin, fp16."
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="For ascend: write the compiler's command, do not run it."),
]


def export(  # noqa: PLR0913 - one argument for each flag
    bundle: BundleFolder,
    target: Targets,
    data: DataFile,
    parity_documents: Annotated[
        int | None,
        typer.Option(min=1, help="Documents to compare.", show_default="30,000 tokens of them"),
    ] = None,
    allow_drop: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=100.0,
            help="Points of accuracy that a reduced precision may lose. Recorded in the bundle.",
        ),
    ] = None,
    replan: Annotated[
        bool, typer.Option("--replan", help="Plan the shapes anew, from these documents.")
    ] = False,
    soc: SocVersion = None,
    precision_mode: PrecisionMode = "mixed_float16",
    dry_run: DryRun = False,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    text_pair_column: TextPairColumn = None,
    label_separator: LabelSeparator = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    as_json: AsJson = False,
) -> None:
    """Add targets to a bundle. One that does not give the trained model's answers is refused."""
    from longform.export.options import ExportOptions

    flags = {
        "text_column": text_column,
        "label_column": label_column,
        "text_pair_column": text_pair_column,
        "label_separator": label_separator,
        "encoding": encoding,
        "encoding_errors": encoding_errors,
    }
    options = ExportOptions(parity_documents, allow_drop, replan, soc, precision_mode, dry_run)
    records = _export(bundle, target, data, options, flags)
    if as_json:
        print_json(_as_json(bundle, records))
        return
    kept = ", ".join(name for name, record in records.items() if record.passed)
    typer.echo(f"Done: {bundle} now also runs as {kept}." if kept else f"Done: {bundle}.")
    typer.echo(f"Next: longform bench {bundle} --data {data}")


def _as_json(bundle: Path, records: dict[str, ParityRecord]) -> dict[str, Any]:
    from longform.bundle import load_bundle

    return {
        "bundle": str(bundle),
        "digest": load_bundle(bundle).digest,
        "targets": {name: record.as_dict() for name, record in records.items()},
    }


def _export(
    bundle: Path,
    targets: list[str],
    data: Path,
    options: ExportOptions,
    flags: dict[str, str | None],
) -> dict[str, ParityRecord]:
    """Read the documents, make the targets, and say which backend is the default from now on."""
    from longform.backends.choice import default_backend
    from longform.bundle import load_bundle
    from longform.data.readers import read_documents
    from longform.extras import require
    from longform.reporting import ConsoleReporter

    reporter = ConsoleReporter()
    for library in ("torch", "transformers"):
        require(library, "An export")
    from longform.export.targets import export_targets

    opened = load_bundle(bundle)
    result = read_documents(data, data_settings(opened, **flags))
    reporter.say(result.report.summary())
    records = export_targets(opened, bundle, targets, result.documents, options, reporter)
    # Measured now, so that the first to open the bundle on this machine does not have to.
    default_backend(load_bundle(bundle), reporter)
    return records
