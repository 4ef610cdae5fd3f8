"""`longform prune`: an encoder with fewer tokens, layers and heads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longform.cli.arguments import (
    AsJson,
    Encoding,
    EncodingErrors,
    RunLabelColumn,
    RunTextColumn,
    SetSettings,
    print_json,
    resolve_config,
)

if TYPE_CHECKING:
    from longform.compression.layers import Placing
    from longform.config import RunConfig, SegmentSettings


Model = Annotated[
    Path,
    typer.Argument(
        help="Folder of an encoder in the Hugging Face layout, or a bundle whose encoder to take."
    ),
]
Output = Annotated[Path, typer.Option(help="Folder of the encoder to write.")]
Vocabulary = Annotated[
    list[Path] | None,
    typer.Option(help="Keep the tokens that the texts of this file use; may be repeated."),
]
Characters = Annotated[
    bool,
    typer.Option(
        help="With --vocabulary, keep every piece of one character too, so that words that the "
        "corpus lacks are spelt and not unknown."
    ),
]
Layers = Annotated[
    str | None, typer.Option(help="How many layers to keep, such as 6, or which: 0,2,4.")
]
PlacingName = Annotated[
    str, typer.Option(help="Which layers, if their number is given: even, first or last.")
]
Heads = Annotated[
    float | None,
    typer.Option(help="Share of attention heads to keep (0.5), or heads of each layer (6)."),
]
Data = Annotated[
    Path | None,
    typer.Option(help="Documents on which the heads' importance is measured, for --heads."),
]
Documents = Annotated[int, typer.Option(min=1, help="Most documents of --data that are read.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the pruned encoder that is at --output.")
]


def prune(  # noqa: PLR0913 - one argument for each flag
    model: Model,
    output: Output,
    vocabulary: Vocabulary = None,
    characters: Characters = True,
    layers: Layers = None,
    placing: PlacingName = "even",
    heads: Heads = None,
    data: Data = None,
    documents: Documents = 256,
    set_: SetSettings = None,
    text_column: RunTextColumn = None,
    label_column: RunLabelColumn = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make an encoder smaller: keep the tokens that a corpus uses, some layers, the best heads.

    The result is an encoder's folder, for 'longform train --encoder'. Fewer tokens change nothing
    on the corpus; fewer layers and heads want training or distillation afterwards.
    """
    from longform.extras import check_installed
    from longform.reporting import ConsoleReporter

    for library in ("torch", "transformers"):
        check_installed(library, "Pruning")
    flags = {
        "text_column": text_column,
        "label_column": label_column,
        "encoding": encoding,
        "encoding_errors": encoding_errors,
    }
    config = resolve_config([], set_ or [], flags)
    # Imported here: only pruning needs torch, and it takes seconds to load.
    from longform.compression.pruning import PruningPlan
    from longform.compression.pruning import prune as prune_encoder

    plan = PruningPlan(
        vocabulary=tuple(vocabulary or ()),
        characters=characters,
        layers=_layers(layers),
        placing=_placing(placing),
        heads=heads,
        data=data,
        documents=documents,
        segments=_segments(model, config, set_ or []),
        columns=config.data_settings(),
    )
    reporter = ConsoleReporter()
    record = prune_encoder(model, output, plan, overwrite=overwrite, reporter=reporter)
    reporter.say(_closing_lines(output, record))
    if as_json:
        print_json({"encoder": str(output), **record})


def _closing_lines(output: Path, record: dict[str, Any]) -> str:
    before, after = record["before"], record["after"]
    behind = (
        "  the encoder alone: the bundle's head stays behind\n" if record["from_bundle"] else ""
    )
    return (
        f"Done: {output}\n"
        f"  {after['parameters']:,} of {before['parameters']:,} parameters, "
        f"{after['bytes'] / 1e6:.1f} of {before['bytes'] / 1e6:.1f} MB\n{behind}"
        f"Next: longform train --encoder {output} --data FILE --output DIR"
    )


def _segments(model: Path, config: RunConfig, assigned: list[str]) -> SegmentSettings:
    """Cut texts as a bundle does, unless a setting says otherwise."""
    from longform.bundle import DESCRIPTION_FILE, load_bundle
    from longform.config import SegmentSettings, parse_assignments

    if not (model / DESCRIPTION_FILE).is_file():
        return config.segment_settings()
    trained = load_bundle(model).description.knobs.segments
    given = parse_assignments(assigned).keys() & SegmentSettings.model_fields.keys()
    return trained.model_copy(update={name: getattr(config, name) for name in given})


def _layers(value: str | None) -> int | tuple[int, ...] | None:
    from longform.errors import InputError

    if value is None:
        return None
    parts = value.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise InputError(
            "Layers are a number of layers, or their numbers from 0 with commas between them.",
            found=f"--layers {value}",
            fix="Give --layers 6, or --layers 0,2,4.",
        )
    return int(value) if len(parts) == 1 else tuple(int(part) for part in parts)


def _placing(value: str) -> Placing:
    from longform.errors import InputError

    if value not in ("even", "first", "last"):
        raise InputError(
            "Layers are placed evenly, first or last.",
            found=f"--placing {value}",
            fix="Give --placing even, first or last.",
        )
    return value  # type: ignore[return-value]
