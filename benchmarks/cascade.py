"""Does a cascade keep its promise, and what does it gain?

A linear model and a frozen encoder are trained on a part of a corpus. On the rest, many times over,
a cascade is certified on some documents drawn at random and judged on all others: how often is the
certified risk exceeded, how many documents stop early? Then the bundles themselves are timed on
real texts, the full model alone and the cascade, in turns. Last, drift: half of the documents come
from other corpora, and the audit has to notice.

    python benchmarks/cascade.py --corpora FOLDER --encoder FOLDER --work FOLDER --json FILE

With --stages, bundles that are there are judged instead, on --pool, which they must not have seen.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longform.backends.choice import machine_name
from longform.bundle import Bundle, load_bundle
from longform.cli import main as longform
from longform.data.readers import read_documents
from longform.decision.audit import Audit
from longform.decision.certificate import Certificate, StageRecord
from longform.decision.exits import first_exits, margins
from longform.decision.rule import DecisionRule
from longform.evaluation.certifying import Promise, certify_cascade
from longform.evaluation.intervals import wilson_interval
from longform.evaluation.steps import Step, StepAnswers
from longform.export.cascade_bundle import write_cascade
from longform.inference.neural import NeuralScorer
from longform.inference.opening import open_scorer
from longform.inference.predictor import load
from longform.training.vectors import VectorStore, default_cache_folder
from longform.types import Document, Floats, Integers

SETTINGS = (
    *("frozen=true", "aggregator=attention", "selection=head", "head_tokens=512"),
    *("segment_length=128", "segment_prefix='query: '"),
)
PROMISE = Promise("disagreement", 0.01, 0.05)
HARM = Promise("harm", 0.01, 0.05)
FOREIGN = ("iflytek/dev.jsonl.gz", "laws/province_masked.jsonl.gz", "newsgroups/test.jsonl.gz")
TRAINED_ON, HELD_OUT = 2_500, 250


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Logits of both stages for some documents; those of the full model may be missing (NaN)."""

    cheap: Floats
    full: Floats


def split_corpus(corpora: Path, work: Path) -> list[Document]:
    """Write the training files and return the pool: what no stage has seen."""
    train = list(read_documents(corpora / "fudan/train.jsonl.gz").documents)
    dev = list(read_documents(corpora / "fudan/dev.jsonl.gz").documents)
    order = np.random.default_rng(0).permutation(len(train))
    chosen = [train[row] for row in order[:TRAINED_ON]]
    for name, part in (("validation", chosen[:HELD_OUT]), ("train", chosen[HELD_OUT:])):
        with (work / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for item in part:
                row = {"id": item.id, "text": item.text, "label": item.label}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return [*(train[row] for row in order[TRAINED_ON:]), *dev]


def train_stages(work: Path, encoder: Path) -> tuple[Bundle, Bundle]:
    """Train both stages by the command line, unless they are there."""
    for name, settings in (
        ("linear", ("--encoder", "linear")),
        ("full", ("--encoder", str(encoder), "--set", *SETTINGS)),
    ):
        if (work / name / "manifest.json").exists():
            continue
        files = ("--data", work / "train.jsonl", "--validation", work / "validation.jsonl")
        status = longform(["train", *map(str, files), "--output", str(work / name), *settings])
        if status:
            raise SystemExit(status)
    return load_bundle(work / "linear"), load_bundle(work / "full")


def score_cheap(bundle: Bundle, documents: Sequence[Document]) -> tuple[Floats, float]:
    """Return logits, and the seconds of a document."""
    scorer = open_scorer(bundle)
    scorer.warm_up()
    began = time.perf_counter()
    logits = scorer.score(documents).logits
    return logits, (time.perf_counter() - began) / len(documents)


def score_full(bundle: Bundle, documents: Sequence[Document], *, cached: bool) -> Floats:
    """Return logits; vectors of documents that a training run has read are found again."""
    scorer = open_scorer(bundle)
    assert isinstance(scorer, NeuralScorer)
    if not cached:
        return scorer.score(documents).logits
    info = scorer.info
    pooling = bundle.description.knobs.model["token_pooling"]
    key = [bundle.description.encoder_digest, pooling, info.precision]
    budget = scorer.backend.token_budget
    logits = []
    with VectorStore(default_cache_folder(), key, scorer.backend.info.vector_size, budget) as store:
        for start in range(0, len(documents), 250):
            segmented = scorer.segment(documents[start : start + 250])
            encode, pad_id = scorer.backend.encode, scorer.segmenter.tokenizer.pad_id
            vectors = scorer.complete(segmented, store.vectors(segmented, encode, pad_id))
            logits.append(scorer.score_readings(vectors, [item.positions for item in segmented]))
    return np.concatenate(logits)


def answers_of(
    scored: Scored, stages: tuple[Bundle, Bundle], seconds: tuple[float, float]
) -> StepAnswers:
    """Return what the two steps answer, as `longform cascade` collects it."""
    rules = [DecisionRule.from_description(bundle.description) for bundle in stages]
    both = (scored.cheap, scored.full)
    return StepAnswers(
        (Step(0), Step(1)),
        np.stack([margins(logits, rule) for logits, rule in zip(both, rules, strict=True)]),
        np.stack([logits.argmax(axis=1) for logits in both]),
        np.array(seconds),
    )


def certificate_of(answers: StepAnswers, stages: Sequence[StageRecord], rows: Integers) -> Any:
    """Certify on some of the documents."""
    return certify_cascade(answers.select(rows), None, PROMISE, stages)


def resplit(
    answers: StepAnswers,
    labels: Integers,
    stages: Sequence[StageRecord],
    draws: int,
    size: int,
    promise: Promise = PROMISE,
) -> dict[str, Any]:
    """Certify and judge again and again."""
    risks, exits, gains, harms, uncertified = [], [], [], [], 0
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(len(labels))
        chosen = order[:size]
        certificate = certify_cascade(
            answers.select(chosen), labels[chosen], promise, stages
        ).certificate
        rest = answers.select(order[size:])
        stops = first_exits(rest.confidence[:-1], certificate.thresholds)
        rows = np.arange(len(stops))
        given = rest.answers[stops, rows]
        truth = labels[order[size:]]
        harmed = float(((given != truth) & (rest.answers[-1] == truth)).mean())
        differing = float((given != rest.answers[-1]).mean())
        risks.append(harmed if promise.loss == "harm" else differing)
        harms.append(harmed)
        exits.append(float((stops == 0).mean()))
        gains.append(float((given == truth).mean() - (rest.answers[-1] == truth).mean()))
        uncertified += not certificate.is_certified
    exceeded = int(sum(risk > promise.risk for risk in risks))
    return {
        "loss": promise.loss,
        "draws": draws,
        "certifying_documents": size,
        "judging_documents": len(labels) - size,
        "exceeded": exceeded,
        "exceeded_share": exceeded / draws,
        "exceeded_interval": wilson_interval(exceeded, draws),
        "allowed_share": PROMISE.delta,
        "mean_risk": float(np.mean(risks)),
        "early_exits": float(np.mean(exits)),
        "early_exits_lowest": float(np.min(exits)),
        "accuracy_change_points": 100 * float(np.mean(gains)),
        "harm": float(np.mean(harms)),
        "uncertified": uncertified,
    }


def known_truth(
    answers: StepAnswers, stages: Sequence[StageRecord], draws: int, size: int
) -> dict[str, Any]:
    """Draw certifying documents from the pool with replacement: then the pool is the truth."""
    disagrees = answers.answers[0] != answers.answers[-1]
    exceeded, certified, exits = 0, 0, []
    for seed in range(draws):
        rows = np.random.default_rng(10_000 + seed).integers(0, len(disagrees), size)
        certificate = certificate_of(answers, stages, rows).certificate
        stops = answers.confidence[0] >= certificate.thresholds[0]
        exceeded += float((stops & disagrees).mean()) > PROMISE.risk
        certified += certificate.is_certified
        exits.append(float(stops.mean()))
    return {
        "draws": draws,
        "exceeded": int(exceeded),
        "exceeded_share": exceeded / draws,
        "exceeded_interval": wilson_interval(int(exceeded), draws),
        "certified": int(certified),
        "early_exits": float(np.mean(exits)),
    }


def compare_speed(
    full: Bundle, cascade: Path, documents: Sequence[Document], rounds: int
) -> dict[str, Any]:
    """Time both bundles on the same texts, in turns, each on its best backend."""
    seconds: dict[str, list[float]] = {"full": [], "cascade": []}
    labels: dict[str, list[str]] = {}
    with load(full) as alone, load(cascade) as line:
        for predictor in (alone, line):
            predictor.warm_up()
        backends = (str(alone.backend_info), str(line.backend_info))
        for _ in range(rounds):
            for name, predictor in (("full", alone), ("cascade", line)):
                began = time.perf_counter()
                labels[name] = [item.label for item in predictor.predict(documents)]
                seconds[name].append(time.perf_counter() - began)
        exits = [item.exit.stage for item in line.predict(documents) if item.exit is not None]
    rates = {name: len(documents) / float(np.median(spent)) for name, spent in seconds.items()}
    agreed = np.mean([a == b for a, b in zip(labels["full"], labels["cascade"], strict=True)])
    return {
        "documents": len(documents),
        "rounds": rounds,
        "backends": backends,
        "seconds": seconds,
        "documents_per_second": rates,
        "speed_up": rates["cascade"] / rates["full"],
        "stopped_early": float(np.mean([stage == 0 for stage in exits])),
        "same_label": float(agreed),
    }


def drift(
    answers: StepAnswers,
    foreign: StepAnswers,
    stages: Sequence[StageRecord],
    runs: int,
    size: int,
) -> dict[str, Any]:
    """Audit documents of the same kind, and half of them of other kinds."""

    def audit(
        certificate: Certificate, stream: Iterator[tuple[StepAnswers, int]], most: int
    ) -> Any:
        watched = Audit(certificate.audited_share, certificate.unsure)
        threshold = certificate.thresholds[0]
        for source, row in stream:
            margin = float(source.confidence[0, row])
            differs = bool(source.answers[0, row] != source.answers[-1, row])
            if watched.add(margin, differs if margin >= threshold else None):
                return watched.exits
            if watched.exits >= most:
                return None
        return None

    fired, found, documents = 0, [], len(answers.answers[0])
    for seed in range(runs):
        random = np.random.default_rng(20_000 + seed)
        order = random.permutation(documents)
        certificate = certificate_of(answers, stages, order[:size]).certificate
        rest = order[size:]
        same = ((answers, int(row)) for row in rest)
        fired += audit(certificate, same, len(rest)) is not None
        mixed = (
            (foreign, int(random.integers(len(foreign.answers[0]))))
            if random.random() < 0.5
            else (answers, int(random.choice(rest)))
            for _ in range(2_000)
        )
        found.append(audit(certificate, mixed, 100))
    in_time = [exits for exits in found if exits is not None]
    return {
        "runs": runs,
        "without_drift": {
            "audited_documents": documents - size,
            "fired": int(fired),
            "share": fired / runs,
            "level": 0.01,
        },
        "half_foreign": {
            "found_within_100_audited_exits": len(in_time),
            "power": len(in_time) / runs,
            "median_audited_exits": float(np.median(in_time)) if in_time else None,
        },
    }


def read_foreign(corpora: Path, each: int) -> list[Document]:
    """Return documents of other corpora."""
    found: list[Document] = []
    for name in FOREIGN:
        documents = [item for item in read_documents(corpora / name).documents if item.text.strip()]
        rows = np.random.default_rng(1).permutation(len(documents))[:each]
        found += [documents[row] for row in rows]
    return found


def score_foreign(
    documents: Sequence[Document], stages: tuple[Bundle, Bundle], threshold: float
) -> tuple[Scored, dict[str, Any]]:
    """Score what stops early by both stages; of the rest the full model's answer is not asked."""
    cheap, _ = score_cheap(stages[0], documents)
    sure = margins(cheap, DecisionRule.from_description(stages[0].description)) >= threshold
    full = cheap.copy()
    if sure.any():
        rows = np.flatnonzero(sure)
        full[rows] = score_full(stages[1], [documents[row] for row in rows], cached=False)
    differs = (cheap.argmax(axis=1) != full.argmax(axis=1))[sure]
    facts = {
        "documents": len(documents),
        "early_exits": float(sure.mean()),
        "disagreement_of_exits": float(differs.mean()) if len(differs) else None,
    }
    return Scored(cheap, full), facts


def main() -> None:
    """Measure everything and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, help="encoder of the full model")
    parser.add_argument("--stages", type=Path, nargs=2, metavar=("CHEAP", "FULL"))
    parser.add_argument("--pool", type=Path, help="file of documents for --stages")
    parser.add_argument("--work", type=Path, required=True, help="folder for the bundles")
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--certify", type=int, default=1_000, help="certifying documents of a draw")
    parser.add_argument("--timed", type=int, default=250, help="documents that are timed")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--foreign", type=int, default=300, help="documents of each other corpus")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.stages:
        pool = list(read_documents(arguments.pool).documents)
        stages = (load_bundle(arguments.stages[0]), load_bundle(arguments.stages[1]))
    else:
        pool = split_corpus(arguments.corpora, arguments.work)
        stages = train_stages(arguments.work, arguments.encoder)
    cheap, cheap_seconds = score_cheap(stages[0], pool)
    scored = Scored(cheap, score_full(stages[1], pool, cached=True))
    label2id = stages[1].description.label2id
    labels = np.array([label2id[str(item.label)] for item in pool])
    answers = answers_of(scored, stages, (cheap_seconds, 60 * cheap_seconds))
    records = [
        StageRecord(
            digest=bundle.digest,
            name=bundle.folder.name,
            kind=bundle.description.kind,
            seconds_per_document=0.0,
        )
        for bundle in stages
    ]
    figures: dict[str, Any] = {
        "machine": machine_name(),
        "promise": {"risk": PROMISE.risk, "delta": PROMISE.delta},
        "pool": len(pool),
        "accuracy": {
            "linear": float((cheap.argmax(axis=1) == labels).mean()),
            "full": float((scored.full.argmax(axis=1) == labels).mean()),
            "disagreement": float((answers.answers[0] != answers.answers[1]).mean()),
        },
        "linear_seconds_per_document": cheap_seconds,
    }

    def keep(name: str, value: Any) -> None:
        figures[name] = value
        print(json.dumps({name: value}, indent=1, ensure_ascii=False), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")

    keep("accuracy", figures["accuracy"])
    counts = (arguments.draws, arguments.certify)
    keep("resplits", resplit(answers, labels, records, *counts))
    keep("resplits_harm", resplit(answers, labels, records, *counts, HARM))
    keep("known_truth", known_truth(answers, records, arguments.draws, arguments.certify))
    # Certified on the first documents of the pool, timed on the last ones.
    made = certificate_of(answers, records, np.arange(arguments.certify))
    foreign, facts = score_foreign(
        read_foreign(arguments.corpora, arguments.foreign),
        stages,
        float(made.certificate.thresholds[0]),
    )
    keep("foreign", facts)
    apart = answers_of(foreign, stages, (1.0, 1.0))
    keep("drift", drift(answers, apart, records, 200, arguments.certify))
    target = arguments.work / "cascade"
    write_cascade(stages, made.certificate, target, overwrite=True)
    timed = pool[-arguments.timed :]
    keep("speed", compare_speed(stages[1], target, timed, arguments.rounds))


if __name__ == "__main__":
    main()
