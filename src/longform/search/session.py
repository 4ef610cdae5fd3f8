"""A whole search, all its pieces in sequence: documents, space, trials, and the choice judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longform import __version__
from longform.bundle import check_output
from longform.config import RunConfig
from longform.config.model import SCRATCH_ENCODERS
from longform.data.preparation import prepare_search_data
from longform.errors import InputError, LongformError
from longform.reporting import Reporter, counted
from longform.search.costs import EncoderCost, estimate_cost
from longform.search.defaults import default_space, starts
from longform.search.objective import Metric, TrialTraining
from longform.search.result import (
    BUNDLE_NAME,
    SETTINGS_NAME,
    Comparison,
    SearchResult,
    finish,
    read_comparison,
    write_settings,
)
from longform.search.space import Choices, Parameter, Space
from longform.search.space_file import read_space
from longform.search.study import open_study
from longform.search.trials import TrialRecord, best_trial, importances, read_trials
from longform.search.tuning import DEFAULTS, Limits, Start, Tuning
from longform.types import Document

RESULT_NAME = "result.json"
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
    if not 0 < request.test_split < 1:
        raise InputError(
            "The share of documents that only judge must lie between 0 and 1.",
            found=f"{request.test_split}",
            fix="Set --test-split, for example to 0.2, or give a file with --test.",
        )
    check_output(request.folder / BUNDLE_NAME, overwrite=True)
    config = _comparable(request, reporter)
    # A space with faults is refused before the documents are read.
    own = _own_space(request, config)
    test = config.model_copy(
        update={
            "validation": str(request.test) if request.test is not None else None,
            "validation_split": request.test_split,
        }
    )
    prepared, judging = prepare_search_data(request.data, config, test, reporter)
    parts = (prepared.train, prepared.validation, judging)
    reporter.say(
        f"{len(parts[0]):,} documents to train on, {len(parts[1]):,} that choose, "
        f"{len(parts[2]):,} that the search never sees and that judge the choice once."
    )
    identity = _identity(request, config, own, parts)
    with open_study(request.folder, identity, restart=request.restart) as study:
        pretrained = [name for name in request.encoders if name not in SCRATCH_ENCODERS]
        space = own or _default_space(request, config, parts, reporter)
        begin = starts(config, pretrained)
        _announce(space, request, read_trials(study), reporter)
        training = TrialTraining(*parts[:2], request.folder, request.metric)
        trials = Tuning(study, space, begin, request.limits, reporter).run(training)
        found = importances(study)
        choice = _choose(trials, request.limits)
        best = _config_of(choice, config, begin)
        _write_best(request, best, choice, len(trials))
        comparison = _judge(
            request, (best, config), parts, (choice, trials), prepared.account, reporter
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
            bundle=request.folder / BUNDLE_NAME,
        )
        _write_json(request.folder / RESULT_NAME, result.as_json())
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
        _write_json(record, [asdict(cost) for cost in costs])
    return default_space(config, request.encoders, costs)


def _identity(
    request: SearchRequest,
    config: RunConfig,
    own: Space | None,
    parts: tuple[Sequence[Document], ...],
) -> dict[str, dict[str, Any]]:
    """Return what must be the same for a search to go on."""
    paths = {"data", "validation", "output_dir", "parity_documents"}
    return {
        "settings": config.model_dump(mode="json", exclude=paths),
        "space": own.as_dict() if own is not None else {"default for": list(request.encoders)},
        "documents": {
            name: _digest(documents)
            for name, documents in zip(("train", "validation", "test"), parts, strict=True)
        },
    }


def _digest(documents: Iterable[Document]) -> str:
    content = hashlib.sha256()
    for document in documents:
        fields = (document.text, document.text_pair, document.label, document.labels)
        content.update(repr(fields).encode("utf-8", "replace"))
    return content.hexdigest()


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


def _choose(trials: Sequence[TrialRecord], limits: Limits) -> TrialRecord:
    """Return the best trial, or refuse a search in which not even the defaults were trained."""
    best = best_trial(trials)
    if best is not None and any(t.start == DEFAULTS and t.value is not None for t in trials):
        return best
    budget = f"{limits.seconds:,.0f} s" if limits.seconds is not None else "no limit of time"
    raise LongformError(
        "The budget of a search must be enough to train the defaults once.",
        found=f"{budget}, {counted(len(trials), 'trial')} and none of the defaults complete",
        fix="Give the same command more --budget: it goes on from here.",
    )


def _config_of(trial: TrialRecord, config: RunConfig, begin: Sequence[Start]) -> RunConfig:
    """Return the whole configuration of a trial."""
    start = next((start for start in begin if start.name == trial.start), None)
    if start is not None:
        return start.config
    return RunConfig.model_validate({**config.model_dump(), **trial.settings})


def _write_best(request: SearchRequest, best: RunConfig, trial: TrialRecord, total: int) -> None:
    given = request.config
    # What only makes trials comparable is no setting of the choice.
    kept = {"report_to": given.report_to, "validation_split": given.validation_split}
    write_settings(
        request.folder / SETTINGS_NAME,
        best.model_copy(update=kept),
        f"Trial {trial.number} of {total} by longform search: {request.metric} "
        f"{100 * (trial.value or 0):.2f} on the documents that chose it.\n"
        f"longform train {SETTINGS_NAME} --data FILE --output FOLDER",
    )


def _judge(
    request: SearchRequest,
    configs: tuple[RunConfig, RunConfig],
    parts: tuple[Sequence[Document], Sequence[Document], Sequence[Document]],
    found: tuple[TrialRecord, Sequence[TrialRecord]],
    account: dict[str, Any],
    reporter: Reporter,
) -> Comparison:
    """Judge the choice and the defaults, or tell what was found when they were judged before."""
    best, trials = found
    record = request.folder / RESULT_NAME
    if record.is_file() and (request.folder / BUNDLE_NAME).is_dir():
        told = json.loads(record.read_text(encoding="utf-8"))
        if told["best"] == best.as_dict() and told["trials_total"] == len(trials):
            reporter.say("Nothing was tried since the choice was judged.")
            return read_comparison(told["test"])
    both = f"the choice, trial {best.number}, and the defaults"
    what = "the defaults, which nothing beat," if best.start == DEFAULTS else both
    reporter.say(f"Training {what} once more, to judge on the test documents.")
    search = {
        "trials": len(trials),
        "trial": best.number,
        "metric": request.metric,
        "value": best.value,
        "longform_version": __version__,
    }
    return finish(configs, parts, request.folder, {"data": account, "search": search}, reporter)


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False)
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)
