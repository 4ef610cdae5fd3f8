"""`longform inspect`: what is in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longform.cli.arguments import AsJson, BundleFolder, print_json

if TYPE_CHECKING:
    from longform.bundle import Bundle, BundleDescription


def inspect(
    bundle: BundleFolder,
    text: Annotated[
        Path | None,
        typer.Option(help="A text file in UTF-8: also show how it would be cut and read."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a bundle and show its labels, settings, metrics, exports and files."""
    import json

    from longform.backends.choice import candidates
    from longform.bundle import load_bundle

    opened = load_bundle(bundle)
    description = opened.description
    if description.kind == "cascade":
        _show_cascade(opened, as_json)
        return
    parity = json.loads(opened.path("parity.json").read_text(encoding="utf-8"))
    content: dict[str, Any] = {
        "digest": opened.digest,
        "description": description.model_dump(mode="json"),
        "parity": parity,
        "parameters": _count_parameters(opened.path("model.safetensors"))
        if description.kind == "neural"
        else {"weights": description.training["features"] * len(description.labels)},
        "backends_here": [str(candidate) for candidate in candidates(opened)],
        "files": {name: opened.path(name).stat().st_size for name in sorted(opened.files)},
    }
    if text is not None:
        content["text"] = _plan(opened, text)
    if as_json:
        print_json(content)
        return
    typer.echo(f"bundle      {bundle}  (verified, digest {opened.digest[:16]})")
    typer.echo(f"made        {description.created} by longform {description.longform_version}")
    typer.echo(f"labels      {len(description.labels)}: {', '.join(description.labels[:20])}")
    _show_reading(description)
    counts = ", ".join(f"{part} {count:,}" for part, count in content["parameters"].items())
    typer.echo(f"parameters  {counts}")
    typer.echo(
        "metrics     "
        + ", ".join(f"{name} {100 * value:.2f} %" for name, value in description.metrics.items())
    )
    for name, record in parity["targets"].items():
        typer.echo(f"parity      {name}: {_verdict(record)}")
    typer.echo(f"runs here   {', '.join(content['backends_here'])}")
    for name, size in content["files"].items():
        typer.echo(f"  {size:>13,}  {name}")
    if text is not None:
        plan = content["text"]
        typer.echo(f"text        {text}: {plan['coverage']}")
        for segment in plan["segments"]:
            typer.echo(f"  {segment['start']:>8,} to {segment['end']:>8,}  {segment['tokens']}")


def _verdict(record: dict[str, Any]) -> str:
    """Say in one line what the gate made of a target; older bundles tell less."""
    allowed = record.get("allowed_drop")
    more = f", {allowed:g} points of accuracy allowed" if allowed is not None else ""
    return (
        f"{'passed' if record['passed'] else 'REFUSED'}, largest logit difference "
        f"{record['largest_logit_difference']:.2g} ({record['documents']} documents){more}"
    )


def _count_parameters(path: Path) -> dict[str, int]:
    """Count the parameters of encoder, aggregator and the rest of the head."""
    import math

    from longform.evaluation.work import tensor_shapes

    counts = {"encoder": 0, "aggregator": 0, "head": 0}
    for name, shape in tensor_shapes(path).items():
        # Buffers that standardise vectors are not learnt.
        if name.startswith("head.vector_"):
            continue
        part = name.partition(".")[0]
        part = "aggregator" if name.startswith("head.aggregator.") else part
        counts[part] = counts.get(part, 0) + math.prod(shape)
    return counts


def _show_reading(description: BundleDescription) -> None:
    segments, model = description.knobs.segments, description.knobs.model
    if description.kind == "neural":
        typer.echo(
            f"reads       {segments.selection} segments of {segments.segment_length} tokens "
            f"({segments.segmenter}, overlap {segments.overlap})"
        )
        typer.echo(f"model       {model['encoder']} + {model['aggregator']}")
    else:
        typer.echo(f"reads       all of a document: {', '.join(model['linear_blocks'])}")
        typer.echo(
            f"model       linear over {model['linear_ngrams']}-grams of tokens "
            f"({model['linear_analyzer']})"
        )


def _show_cascade(opened: Bundle, as_json: bool) -> None:
    from longform.inference.opening import read_certificate

    certificate, _ = read_certificate(opened)
    if as_json:
        print_json(
            {
                "digest": opened.digest,
                "description": opened.description.model_dump(mode="json"),
                "certificate": certificate.model_dump(mode="json"),
            }
        )
        return
    typer.echo(f"bundle      {opened.folder}  (verified, digest {opened.digest[:16]})")
    typer.echo(f"made        {certificate.created} by longform {certificate.longform_version}")
    typer.echo(f"certified   {certificate.describe()}")
    for stage in certificate.stages:
        typer.echo(
            f"stage       {stage.name}: {stage.kind} on {stage.runtime}, "
            f"{1000 * stage.seconds_per_document:,.1f} ms a document, digest {stage.digest[:16]}"
        )
    for number, step in enumerate(certificate.steps):
        threshold = "none stops" if step.threshold is None else f"margin of {step.threshold:.3g}"
        last = number == len(certificate.steps) - 1
        typer.echo(
            f"step        stage {step.stage}, {100 * step.depth:.0f} % of the segments: "
            f"{'the answer' if last else threshold}, {100 * step.exited:.1f} % stop"
        )


def _plan(opened: Any, path: Path) -> dict[str, Any]:
    """Cut one text as the bundle would."""
    from longform.errors import InputError
    from longform.text.segmenter import Segmenter
    from longform.text.tokenization import TextTokenizer

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "The text must be a readable file in UTF-8.",
            found=f"{path}: {error}",
            fix="Give another file, or convert this one.",
        ) from error
    if opened.description.kind == "linear":
        from longform.inference.linear import LinearScorer
        from longform.types import Document

        (document,) = LinearScorer.open(opened).segment([Document(path.name, text)])
    else:
        tokenizer = TextTokenizer.from_file(opened.path("tokenizer.json"))
        document = Segmenter(tokenizer, opened.description.knobs.segments).segment(text)
    return {
        "coverage": document.coverage.as_dict(),
        "segments": [
            {"start": item.start, "end": item.end, "tokens": len(item.token_ids)}
            for item in document.segments
        ],
    }
