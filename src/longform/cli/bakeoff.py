"""`longform bakeoff`: which kind of classifier is best for these documents, by paired evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from longform.cli.arguments import (
    AsJson,
    Encoding,
    EncodingErrors,
    MetricName,
    RunLabelColumn,
    RunLabelSeparator,
    RunSettings,
    RunTextColumn,
    RunTextPairColumn,
    SetSettings,
    print_json,
    resolve_config,
)
from longform.cli.checks import parse_duration, prepare_report, required

Data = Annotated[
    Path | None,
    typer.Option(help="Labelled documents: a file of any kind in docs/data.md, or a folder."),
]
Output = Annotated[
    Path | None,
    typer.Option(help="Folder of the bake-off; the chosen bundle is its subfolder 'bundle'."),
]
Budget = Annotated[
    str, typer.Option(help="Time for everything, such as 90s, 20m or 1h30m; see docs/bakeoff.md.")
]
MaxLatency = Annotated[
    float | None,
    typer.Option(min=0, help="Most milliseconds a document that the choice may take, as served."),
]
Encoders = Annotated[
    list[str] | None,
    typer.Option(help="Folder or name of a pretrained encoder; may be given repeatedly."),
]
Contenders = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME:KEY=VALUE,...|FILE.yaml",
        help="A contender of your own, or a YAML file of name -> settings; may be repeated.",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Names of those that take part, such as 'linear*'; may be repeated."),
]
Test = Annotated[
    Path | None,
    typer.Option(
        help="Documents that judge the choice once. Left out, --test-split of the data is set "
        "aside where that gives 100 documents or more."
    ),
]
TestSplit = Annotated[
    float, typer.Option(help="Share of the data that is set aside to judge the choice.")
]
Splits = Annotated[int, typer.Option(min=1, help="Most splits that a contender is judged on.")]
Metric = Annotated[MetricName, typer.Option(help="What is to be high.")]
Report = Annotated[
    Path | None,
    typer.Option(help="Write the HTML report here.", show_default="report.html in --output"),
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Forget the bake-off in --output and begin anew.")
]


def bakeoff(  # noqa: PLR0913 - one argument for each flag
    settings: RunSettings = None,
    data: Data = None,
    output: Output = None,
    budget: Budget = "20m",
    max_latency_ms: MaxLatency = None,
    encoder: Encoders = None,
    contender: Contenders = None,
    only: Only = None,
    test: Test = None,
    test_split: TestSplit = 0.2,
    splits: Splits = 10,
    metric: Metric = MetricName.accuracy,
    set_: SetSettings = None,
    report: Report = None,
    text_column: RunTextColumn = None,
    label_column: RunLabelColumn = None,
    text_pair_column: RunTextPairColumn = None,
    label_separator: RunLabelSeparator = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    restart: Restart = False,
    as_json: AsJson = False,
) -> None:
    """Compare kinds of classifiers on the same splits and write the one worth its cost.

    From always the commonest class over linear models to frozen and fine-tuned encoders. What
    CONFIG.yaml and --set say holds for all contenders. An interrupted bake-off is continued by
    the same command.
    """
    flags = {
        "data": str(data) if data else None,
        "output_dir": str(output) if output else None,
        "text_column": text_column,
        "label_column": label_column,
        "text_pair_column": text_pair_column,
        "label_separator": label_separator,
        "encoding": encoding,
        "encoding_errors": encoding_errors,
    }
    config = resolve_config(settings or [], set_ or [], flags)
    request = {
        "config": config,
        "data": required("A bake-off", config.data, "--data", "labelled documents"),
        "folder": required("A bake-off", config.output_dir, "--output", "a folder"),
        "budget_seconds": parse_duration(budget),
        "most_splits": splits,
        "metric": metric.value,
        "limit_ms": max_latency_ms,
        "test": test,
        "test_split": test_split,
        "restart": restart,
    }
    _bakeoff(request, (encoder or [], contender or [], only or []), report, as_json)


def _bakeoff(
    request: dict[str, Any],
    who: tuple[list[str], list[str], list[str]],
    report: Path | None,
    as_json: bool,
) -> None:
    from longform.extras import check_installed
    from longform.reporting import ConsoleReporter

    for library in ("torch", "transformers", "accelerate", "onnx", "onnxscript", "sklearn"):
        check_installed(library, "A bake-off")
    if report is not None:
        prepare_report(report, request["folder"] / "bundle")
    from longform.cli.bakeoff_summary import print_bakeoff
    from longform.search.bakeoff.contenders import (
        default_contenders,
        gather,
        parse_contender,
        read_contenders,
    )
    from longform.search.bakeoff.report import write_bakeoff_report
    from longform.search.bakeoff.session import BakeoffRequest, run_bakeoff

    encoders, given, only = who
    own = []
    for item in given:
        is_file = item.endswith((".yaml", ".yml"))
        own += read_contenders(Path(item)) if is_file else [parse_contender(item)]
    contenders = gather(default_contenders(request["config"], encoders), own, only)
    result = run_bakeoff(BakeoffRequest(**request, contenders=tuple(contenders)), ConsoleReporter())
    report = report or request["folder"] / "report.html"
    write_bakeoff_report(report, result, request["data"].name)
    if as_json:
        print_json({**result.as_json(), "report": str(report)})
    else:
        print_bakeoff(result, report)
    if result.exit_status:
        raise typer.Exit(result.exit_status)
