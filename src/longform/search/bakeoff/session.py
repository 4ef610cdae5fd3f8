"""A whole bake-off, all its pieces in sequence: documents, contenders, rounds, end."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from longform.backends.choice import machine_name
from longform.bundle import check_output
from longform.config import RunConfig
from longform.data.preparation import check_share, prepare_bakeoff_data
from longform.errors import InputError, LongformError
from longform.reporting import Reporter, counted, describe_seconds
from longform.search.bakeoff.contenders import MAJORITY, Contender
from longform.search.bakeoff.ending import BUNDLE_NAME, WORK_NAME, Ending, Finalists
from longform.search.bakeoff.estimates import Estimator
from longform.search.bakeoff.protocol import Protocol, Round
from longform.search.bakeoff.records import SPLITS_NAME, Attempt, Records, Standing
from longform.search.bakeoff.result import BakeoffResult, advise, make_rows
from longform.search.bakeoff.schedule import Estimate, Limits, Schedule
from longform.search.bakeoff.statistics import Metric, majority
from longform.search.bakeoff.training import renumber, train_contender
from longform.search.folder import FolderKind, claimed_folder, write_json
from longform.search.identity import digest_documents
from longform.search.watch import Deadline
from longform.training.arguments import kind_of_training

RECORD_NAME = "bakeoff.json"
RESULT_NAME = "result.json"

_ROUNDS_SHARE = 0.75
"""Share of the budget that rounds may take; the rest is for the finalists and the bundle."""


@dataclass(frozen=True, slots=True)
class BakeoffRequest:
    """Who is compared on what, and where.

    Attributes:
        config: What all contenders share.
        data: Labelled documents.
        folder: For all that the bake-off leaves.
        contenders: Who takes part.
        budget_seconds: Of the whole.
        most_splits: That a contender is judged on.
        metric: That chooses.
        limit_ms: Most milliseconds a document, as served; None for no limit.
        test: Documents that only judge the choice; None sets a share of `data` aside.
        test_split: That share.
        restart: Forget an earlier bake-off in the folder.
    """

    config: RunConfig
    data: Path
    folder: Path
    contenders: tuple[Contender, ...]
    budget_seconds: float
    most_splits: int = 10
    metric: Metric = "accuracy"
    limit_ms: float | None = None
    test: Path | None = None
    test_split: float = 0.2
    restart: bool = False


def run_bakeoff(request: BakeoffRequest, reporter: Reporter) -> BakeoffResult:
    """Compare the contenders, choose, judge the choice, and write it as a bundle.

    An interrupted bake-off goes on. A signal during the rounds ends them with what is known; then
    nothing is trained any more, and the result says that it was interrupted.

    Raises:
        InputError: The documents, a contender or the folder cannot be used.
        LongformError: Not one contender could be trained.
    """
    check_share(request.test_split)
    if request.config.validation is not None:
        raise InputError(
            "A bake-off holds its own validation documents out of each split.",
            found=f"validation {request.config.validation}",
            fix="Join the files for --data, or give documents that only judge with --test.",
        )
    check_output(request.folder / BUNDLE_NAME, overwrite=True)
    config = request.config.model_copy(
        update={"metric_for_best_model": request.metric, "report_to": ()}
    )
    for contender in request.contenders:
        contender.configure(config)
    documents, judges, account = prepare_bakeoff_data(request.data, config, request.test, reporter)
    identity = {
        "settings": {
            **config.model_dump(mode="json", exclude={"data", "output_dir", "parity_documents"}),
            "test_split": request.test_split,
        },
        "documents": {"data": digest_documents(documents), "test": digest_documents(judges)},
    }
    kind = FolderKind("bake-off", RECORD_NAME, frozenset({SPLITS_NAME}), _forget)
    with claimed_folder(request.folder, identity, kind, restart=request.restart):
        protocol = Protocol(documents, config, judges, request.test_split, reporter)
        result = _compare(request, config, protocol, reporter)
        write_json(request.folder / RESULT_NAME, {**result.as_json(), "data": account})
    return result


def _compare(
    request: BakeoffRequest, config: RunConfig, protocol: Protocol, reporter: Reporter
) -> BakeoffResult:
    records = Records(request.folder)
    standings = [Standing(contender) for contender in request.contenders]
    _announce(request, protocol, reporter)
    limits = Limits(_ROUNDS_SHARE * request.budget_seconds, request.most_splits)
    schedule = Schedule(protocol, standings, records, limits, request.metric, reporter)
    estimator = Estimator(protocol.documents, request.folder / WORK_NAME / "estimate")
    started, status = time.monotonic(), 0
    ending: Ending | None = None
    try:
        schedule.run(
            lambda *arguments: _judge(request, config, protocol, *arguments),
            lambda contender: _estimate(estimator, config, contender, reporter),
        )
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 130
        reporter.say("Interrupted: what is known so far follows; the same command goes on.")
    _require_judged(standings, status)
    if not status:
        left = request.budget_seconds - (time.monotonic() - started)
        finalists = Finalists(protocol, config, request.folder, request.metric, reporter)
        ending = finalists.finish(standings, request.limit_ms, left)
    return _result(request, protocol, standings, ending, (records.spent(), status))


def _judge(
    request: BakeoffRequest,
    config: RunConfig,
    protocol: Protocol,
    contender: Contender,
    divided: Round,
    deadline: Deadline,
) -> Attempt:
    """Train a contender on a split and judge it."""
    started = time.monotonic()
    learnt = len(divided.train) + len(divided.validation)
    truth, places = protocol.truth, divided.places
    if contender.name == MAJORITY:
        inside = {id(item) for item in (*divided.train, *divided.validation)}
        trained = np.array(
            [place for place, item in enumerate(protocol.documents) if id(item) in inside]
        )
        answers = majority(truth.labels, trained, places)
        cost, kind, encoding = 0.0, "no training", 0.0
    else:
        parts = (divided.train, divided.validation)
        model = train_contender(contender.configure(config), parts, request.folder, deadline)
        judged = [protocol.documents[place] for place in places.tolist()]
        answers = renumber(model.predict(judged, deadline), model.labels, protocol.labels)
        cost, kind = model.document_ms(judged), str(model.summary.get("kind", ""))
        encoding = model.encoding_seconds
    seconds = time.monotonic() - started
    return Attempt(
        contender.name,
        divided.number,
        "done",
        seconds,
        predicted=answers,
        trained=learnt,
        document_ms=cost,
        kind=kind,
        encoding_seconds=encoding,
    )


def _estimate(
    estimator: Estimator, config: RunConfig, contender: Contender, reporter: Reporter
) -> Estimate | None:
    own = contender.configure(config)
    seconds = estimator.seconds(own)
    if seconds is None:
        return None
    reporter.say(f"{contender.name}: about {describe_seconds(seconds)} for its first split.")
    return Estimate(seconds, kind_of_training(own))


def _require_judged(standings: Sequence[Standing], status: int) -> None:
    if any(item.judged for item in standings if item.name != MAJORITY):
        return
    if status:
        raise SystemExit(status)
    reasons = [f"{item.name}: {item.out}" for item in standings if item.out]
    raise LongformError(
        "The budget of a bake-off must be enough to train one contender on one split.",
        found="; ".join(reasons) or "no time for any of them",
        fix="Give the same command more --budget: it goes on from here.",
    )


def _result(
    request: BakeoffRequest,
    protocol: Protocol,
    standings: Sequence[Standing],
    ending: Ending | None,
    course: tuple[float, int],
) -> BakeoffResult:
    truth, metric = protocol.truth, request.metric
    choice, costs = (None, {}) if ending is None else (ending.choice, ending.costs)
    rows, reference = make_rows(truth, standings, metric, choice, costs)
    seconds, status = course
    advice: tuple[str, ...] = ("Interrupted: nothing is recommended before the end.",)
    if not status:
        advice = advise(truth, standings, metric, ending, request.limit_ms)
    return BakeoffResult(
        metric=metric,
        protocol=protocol.describe(),
        rows=rows,
        reference=reference,
        advice=advice,
        ending=ending,
        budget_seconds=request.budget_seconds,
        seconds=seconds,
        limit_ms=request.limit_ms,
        machine=machine_name(),
        exit_status=status,
    )


def _announce(request: BakeoffRequest, protocol: Protocol, reporter: Reporter) -> None:
    told = protocol.describe()
    judges = (
        f"{told['judges']:,} that no selection sees judge the choice"
        if told["judges"]
        else "too few to set some aside for judging the choice"
    )
    reporter.say(
        f"{counted(len(request.contenders), 'contender')} on {told['documents']:,} documents of "
        f"{told['classes']} classes, divided by {told['divided_by']}; {judges}. "
        f"{describe_seconds(request.budget_seconds)} in all."
    )


def _forget(folder: Path) -> None:
    for name in (RECORD_NAME, RESULT_NAME, "trials.log"):
        (folder / name).unlink(missing_ok=True)
    for name in (SPLITS_NAME, WORK_NAME, "trial"):
        shutil.rmtree(folder / name, ignore_errors=True)
