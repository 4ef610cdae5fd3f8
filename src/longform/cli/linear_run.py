"""A training run of a linear model: fitted, compared, saved, reported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longform.cli.train_records import RunRecords
    from longform.config import RunConfig
    from longform.data.preparation import PreparedData
    from longform.reporting import Reporter


def run_linear(
    config: RunConfig,
    prepared: PreparedData,
    records: RunRecords,
    reporter: Reporter,
    *,
    overwrite: bool,
) -> dict[str, Any]:
    """Fit a linear model and write the bundle.

    Args:
        config: Of the run.
        prepared: Its documents.
        records: Where the bundle and the report go.
        reporter: Told what is decided and how it goes.
        overwrite: Replace a bundle that is there.

    Returns:
        Where the bundle is, its metrics and what training did.

    Raises:
        InputError: The documents or the output cannot be used.
    """
    from longform.export.linear_bundle import write_linear_bundle
    from longform.training.linear import fit_linear

    trained = fit_linear(config, prepared.train, prepared.validation, reporter)
    trained.summary["data"] = prepared.account
    target = records.target
    parity = write_linear_bundle(
        trained, prepared.validation, target, overwrite=overwrite, reporter=reporter
    )
    report = _write_report(config, prepared, records, reporter)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    reporter.say(
        f"Done: {target} ({size / 1e6:,.1f} MB)\n"
        f"  accuracy {100 * trained.metrics['accuracy']:.2f}, macro-F1 "
        f"{100 * trained.metrics['macro_f1']:.2f} on {len(prepared.validation):,} validation "
        f"documents\n"
        f"  every token read, {trained.summary['seconds']:,.0f} s of training\n"
        + (f"Report: {report} (it quotes documents)\n" if report else "")
        + f"Next: longform evaluate {target} --data FILE   or   longform serve {target}"
    )
    return {
        "bundle": str(target),
        "default_backend": next(name for name, item in parity.items() if item.passed),
        "metrics": trained.metrics,
        "training": trained.summary,
        "parity": {name: record.as_dict() for name, record in parity.items()},
        "report": str(report) if report else None,
    }


def _write_report(
    config: RunConfig, prepared: PreparedData, records: RunRecords, reporter: Reporter
) -> Path | None:
    """Write what the bundle makes of the validation documents, unless it is not wanted."""
    from longform.cli.train_records import name_validation
    from longform.evaluation.evaluation import evaluate
    from longform.evaluation.report import write_report
    from longform.inference.predictor import load

    if not records.options.has_report:
        return None
    data = name_validation(config)
    with load(records.target) as predictor:
        evaluation = evaluate(predictor, prepared.validation, reporter, data=data, explain=True)
    records.report.parent.mkdir(parents=True, exist_ok=True)
    write_report(records.report, evaluation)
    return records.report
