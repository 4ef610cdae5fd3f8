"""A whole search, all its pieces in sequence: documents, space, trials, and the choice judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longform.bundle import check_output
from longform.config import RunConfig
from longform.config.model import SCRATCH_ENCODERS
from longform.data.preparation import PreparedData, check_share, prepare_search_data
from longform.errors import InputError
from longform.reporting import Reporter, counted
from longform.search.choice import RESULT_NAME, choose_trial, config_of, judge_choice, write_choice
from longform.search.costs import EncoderCost, estimate_cost
from longform.search.defaults import default_space, starts
from longform.search.folder import write_json
from longform.search.identity import search_identity
from longform.search.objective import Metric, TrialTraining
from longform.search.result import BUNDLE_NAME, SearchResult
from longform.search.space import Choices, Parameter, Space
from longform.search.space_file import read_space
from longform.search.study import open_study
from longform.search.trials import TrialRecord, importances, read_trials
from longform.search.tuning import Limits, Tuning
from longform.types import Document

COSTS_NAME = "costs.json"
_VALIDATION_SPLIT = 0.2
"""Share that chooses, where the user names none: a choice among many trials needs more than that
of the best epoch."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What is searched for, and where.

    Attributes:
        config: Where the search begins; what it sets stays set unless the space names it.
        data: Labelled documents.
        folder: For all that the search leaves.
        limits: When to end.
        metric: Of the validation documents, made as high as it can be.
        encoders: Pretrained encoders to choose among.
        space: A file with the user's own space.
        test: Documents that only judge; None sets a share of `data` aside.
        test_split: That share.
        restart: Forget an earlier search in the folder.
    """

    config: RunConfig
    data: Path
    folder: Path
    limits: Limits
    metric: Metric = "macro_f1"
    encoders: tuple[str, ...] = ()
    space: Path | None = None
    test: Path | None = None
    test_split: float = 0.2
    restart: bool = False


def run_search(request: SearchRequest, reporter: Reporter) -> SearchResult:
    """Search, write the choice as a bundle, and judge it beside the defaults.

    A search that was interrupted goes on; one that is complete is only told again.

    Raises:
        InputError: The documents, the space, an encoder or the folder cannot be used, or not even
            the defaults could be trained within the budget.
        ParityError: The export of the choice is not equal to the trained model.
    """
    check_share(request.test_split)
    folder = request.folder
    check_output(folder / BUNDLE_NAME, overwrite=True)
    config = _comparable(request, reporter)
    # A space with faults is refused before the documents are read.
    own = _own_space(request, config)
    prepared, judging = _prepare(request, config, reporter)
    parts = (prepared.train, prepared.validation, judging)
    identity = search_identity(config, request.encoders if own is None else own, parts)
    with open_study(folder, identity, restart=request.restart) as study:
        pretrained = [name for name in request.encoders if name not in SCRATCH_ENCODERS]
        space = own or _default_space(request, config, parts, reporter)
        begin = starts(config, pretrained)
        _announce(space, request, read_trials(study), reporter)
        training = TrialTraining(*parts[:2], folder, request.metric)
        trials = Tuning(study, space, begin, request.limits, reporter).run(training)
        found = importances(study)
        choice = choose_trial(trials, request.limits)
        best = config_of(choice, config, begin)
        write_choice(folder, (best, request.config), choice, len(trials), request.metric)
        comparison = judge_choice(
            folder,
            request.metric,
            (best, config),
            parts,
            (choice, trials),
            prepared.account,
            reporter,
        )
        result = SearchResult(
            metric=request.metric,
            trials=tuple(trials),
            best=choice,
            importances=found,
            comparison=comparison,
            parts=dict(zip(("train", "validation", "test"), map(len, parts), strict=True)),
            seconds=sum(trial.seconds for trial in trials),
            space=space.as_dict(),
            bundle=folder / BUNDLE_NAME,
        )
        write_json(folder / RESULT_NAME, result.as_json())
    return result


def _comparable(request: SearchRequest, reporter: Reporter) -> RunConfig:
    """Set what must be the same in all trials."""
    update: dict[str, Any] = {"metric_for_best_model": request.metric, "report_to": ()}
    config = request.config
    if config.validation is None and "validation_split" not in config.model_fields_set:
        update["validation_split"] = _VALIDATION_SPLIT
        reporter.say(
            f"{100 * _VALIDATION_SPLIT:.0f} % of the documents choose among the trials "
            "(validation_split)."
        )
    return config.model_copy(update=update)


def _own_space(request: SearchRequest, config: RunConfig) -> Space | None:
    """Read the user's space, and add the encoders of the command line to it."""
    if request.space is None:
        return None
    own = read_space(request.space, config)
    if not request.encoders:
        return own
    if own.values_of("encoder"):
        raise InputError(
            "The encoders of a search are named in its space or by --encoder.",
            found=f"both, in {request.space} and on the command line",
            fix="List all of them in the space, or take the key 'encoder' out of it.",
        )
    names = tuple(dict.fromkeys([config.encoder, *request.encoders]))
    return Space((Parameter("encoder", Choices(names)), *own.parameters))


def _prepare(
    request: SearchRequest, config: RunConfig, reporter: Reporter
) -> tuple[PreparedData, tuple[Document, ...]]:
    """Read the documents to train on and to choose by, and those that only judge."""
    test = config.model_copy(
        update={
            "validation": str(request.test) if request.test is not None else None,
            "validation_split": request.test_split,
        }
    )
    prepared, judging = prepare_search_data(request.data, config, test, reporter)
    reporter.say(
        f"{len(prepared.train):,} documents to train on, {len(prepared.validation):,} that choose, "
        f"{len(judging):,} that the search never sees and that judge the choice once."
    )
    return prepared, judging


def _default_space(
    request: SearchRequest,
    config: RunConfig,
    parts: tuple[Sequence[Document], ...],
    reporter: Reporter,
) -> Space:
    """Return the space for the encoders at hand; what was measured of them once stays so."""
    names = dict.fromkeys([config.encoder, *request.encoders])
    pretrained = [name for name in names if name not in SCRATCH_ENCODERS]
    record = request.folder / COSTS_NAME
    if record.is_file():
        costs = [EncoderCost(**item) for item in json.loads(record.read_text(encoding="utf-8"))]
    else:
        seconds = request.limits.seconds
        costs = [
            estimate_cost(name, config, (parts[0], parts[1]), seconds, reporter)
            for name in pretrained
        ]
        write_json(record, [asdict(cost) for cost in costs])
    return default_space(config, request.encoders, costs)


def _announce(
    space: Space, request: SearchRequest, trials: Sequence[TrialRecord], reporter: Reporter
) -> None:
    limits = request.limits
    ends = [
        f"{limits.seconds:,.0f} s of trials" if limits.seconds is not None else "",
        counted(limits.trials, "trial") if limits.trials is not None else "",
    ]
    reporter.say(
        f"Searching {', '.join(parameter.name for parameter in space.parameters)}; "
        f"ends after {' or '.join(end for end in ends if end)}. The choice and the defaults are "
        "trained once more afterwards."
    )
    if trials:
        spent = sum(trial.seconds for trial in trials)
        reporter.say(f"Going on after {counted(len(trials), 'trial')} in {spent:,.0f} s.")
