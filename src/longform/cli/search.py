"""`longform search`: which settings are best for these documents, within a budget."""

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

_DEFAULT_SECONDS = 20 * 60


Data = Annotated[
    Path | None,
    typer.Option(help="Labelled documents: a file of any kind in docs/data.md, or a folder."),
]
Output = Annotated[
    Path | None,
    typer.Option(help="Folder of the search; the chosen bundle is its subfolder 'best'."),
]
Validation = Annotated[
    Path | None,
    typer.Option(help="Documents that choose. Left out, a fifth is held out, by class."),
]
Test = Annotated[
    Path | None,
    typer.Option(
        help="Documents that the search never sees and that judge the choice once. Left out, "
        "--test-split of the data is set aside."
    ),
]
TestSplit = Annotated[
    float, typer.Option(help="Share of the data that is set aside to judge the choice.")
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="Time for all trials together, such as 90s, 20m or 1h30m; 20m when there is no "
        "--trials either."
    ),
]
Trials = Annotated[int | None, typer.Option(min=1, help="Most trials.")]
SpaceFile = Annotated[
    Path | None, typer.Option(help="YAML file with the keys to search and their values.")
]
Encoders = Annotated[
    list[str] | None,
    typer.Option(help="Folder or name of an encoder to try as well; may be given repeatedly."),
]
Metric = Annotated[MetricName, typer.Option(help="What the validation documents choose by.")]
Report = Annotated[
    Path | None,
    typer.Option(help="Write the HTML report here.", show_default="report.html in --output"),
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Forget the search in --output and begin anew.")
]


def search(  # noqa: PLR0913 - one argument for each flag
    settings: RunSettings = None,
    data: Data = None,
    output: Output = None,
    validation: Validation = None,
    test: Test = None,
    test_split: TestSplit = 0.2,
    budget: Budget = None,
    trials: Trials = None,
    space: SpaceFile = None,
    encoder: Encoders = None,
    metric: Metric = MetricName.macro_f1,
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
    """Search for the best settings within a budget, and judge them on documents not seen before.

    What CONFIG.yaml and --set say is kept, unless --space names it. An interrupted search is
    continued by the same command, a complete one by the same command with a larger budget.
    """
    flags = {
        "data": str(data) if data else None,
        "output_dir": str(output) if output else None,
        "validation": str(validation) if validation else None,
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
        "data": required("A search", config.data, "--data", "labelled documents"),
        "folder": required("A search", config.output_dir, "--output", "a folder"),
        "metric": metric.value,
        "encoders": tuple(encoder or ()),
        "space": space,
        "test": test,
        "test_split": test_split,
        "restart": restart,
    }
    seconds = parse_duration(budget) if budget is not None else None
    if seconds is None and trials is None:
        seconds = _DEFAULT_SECONDS
    _search(request, (seconds, trials), report, as_json)


def _search(
    request: dict[str, Any],
    limits: tuple[float | None, int | None],
    report: Path | None,
    as_json: bool,
) -> None:
    from longform.extras import check_installed
    from longform.reporting import ConsoleReporter

    for library in ("torch", "transformers", "accelerate", "onnx", "onnxscript", "optuna"):
        check_installed(library, "Searching")
    if report is not None:
        prepare_report(report, request["folder"] / "best")
    from longform.cli.search_summary import print_search
    from longform.search.report import write_search_report
    from longform.search.session import SearchRequest, run_search
    from longform.search.tuning import Limits

    result = run_search(SearchRequest(**request, limits=Limits(*limits)), ConsoleReporter())
    report = report or request["folder"] / "report.html"
    write_search_report(report, result, request["data"].name)
    if as_json:
        print_json({**result.as_json(), "report": str(report)})
    else:
        print_search(result, report)
