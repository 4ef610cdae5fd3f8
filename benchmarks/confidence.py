"""Does calibrated confidence keep its promises? Bundles held against many divisions of documents.

A model is trained on some documents of a corpus and scores others once. These are divided again and
again into parts that scale, find the bounds and test, as `longform calibrate` does it, and every
figure is of the testing part: coverage of the label sets, calibration error before and after, the
error of the answers given where 1 % was asked for. Beside the label sets stand adaptive ones (APS,
RAPS), which the product does not use: this is the comparison that decided.

    python benchmarks/confidence.py                      # a synthetic corpus, three minutes
    python benchmarks/confidence.py --corpora FOLDER --output confidence_fudan.json
    python benchmarks/confidence.py --corpora FOLDER --model NAME=BUNDLE   # not trained on the pool
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from numpy.typing import NDArray

from longform.cli import main as longform
from longform.data.labels import LabelMap
from longform.data.readers import read_documents
from longform.data.samples import generate_documents
from longform.decision.calibration import fit_temperatures
from longform.decision.conformal import conformal_quantile
from longform.decision.fitting import CalibrationRequest, Parts, fit_rule, is_right
from longform.decision.rule import DecisionRule
from longform.errors import GateError
from longform.evaluation.confidence import ConfidenceFigures, measure_confidence
from longform.evaluation.reliability import calibration_error
from longform.inference.predictor import load
from longform.types import Document, Floats, Integers

COVERAGE, MAX_ERROR, CONFIDENCE = 0.95, 0.01, 0.95
TRAINED_ON = 2_500
FOLDS = 5
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pool:
    """Documents that the model was not trained on, as it scored them."""

    rule: DecisionRule
    logits: Floats
    targets: Integers
    tokens: Integers


def divide(corpora: Path | None) -> tuple[list[Document], list[Document]]:
    """Return the documents to train on, and the pool."""
    if corpora is None:
        documents = list(generate_documents(1_600, seed=0))
        return documents[:400], documents[400:]
    train, dev = (
        read_documents(corpora / "fudan" / f"{part}.jsonl.gz").documents
        for part in ("train", "dev")
    )
    order = np.random.default_rng(0).permutation(len(train))
    shuffled = [train[row] for row in order]
    return shuffled[:TRAINED_ON], [*shuffled[TRAINED_ON:], *dev]


def train_linear(documents: Sequence[Document], folder: Path) -> Path:
    """Train the linear rung on documents."""
    data = folder / "train.jsonl"
    with data.open("w", encoding="utf-8") as file:
        for item in documents:
            row = {"id": item.id, "text": item.text, "label": item.label}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    flags = ["--encoder", "linear", "--set", "unseen_labels=drop"]
    status = longform(["train", "--data", str(data), "--output", str(folder / "linear"), *flags])
    if status:
        raise SystemExit(status)
    return folder / "linear"


def score(bundle: Path, documents: Sequence[Document]) -> Pool:
    """Score the pool once."""
    with load(bundle) as predictor:
        known = [item for item in documents if item.label in predictor.labels]
        windows = [scores for _, scores in predictor.iterate_scores(known)]
        rule = predictor.rule
    tokens = [item.tokens_total for scores in windows for item in scores.coverage]
    targets = LabelMap(rule.labels).targets(known)
    logits = np.concatenate([scores.logits for scores in windows])
    return Pool(rule, logits, targets.astype(np.int64), np.array(tokens, dtype=np.int64))


def resplit(pool: Pool, splits: int) -> dict[str, Any]:
    """Calibrate and test on many divisions."""
    sets: list[ConfidenceFigures] = []
    conditional: list[ConfidenceFigures] = []
    bounded: list[ConfidenceFigures] = []
    own: list[int] = []
    refused = 0
    for seed in range(splits):
        parts = Parts.of(len(pool.targets), seed)
        testing = parts.testing

        def run(request: CalibrationRequest, parts: Parts = parts) -> DecisionRule:
            known = pool.logits, pool.targets, pool.tokens
            return fit_rule(pool.rule, *known, parts, request).rule

        judged = pool.logits[testing], pool.targets[testing], pool.tokens[testing]
        within = run(CalibrationRequest(COVERAGE, class_conditional=True))
        conditional.append(measure_confidence(within, *judged))
        own.append(len(within.label_sets.class_quantiles) if within.label_sets else 0)
        try:
            asked = CalibrationRequest(COVERAGE, max_error=MAX_ERROR, confidence=CONFIDENCE)
            sets.append(measure_confidence(run(asked), *judged))
            bounded.append(sets[-1])
        except GateError:
            refused += 1
            sets.append(measure_confidence(run(CalibrationRequest(COVERAGE)), *judged))
    return {
        "label_sets": _sets(sets),
        "label_sets_within_each_class": {
            **_sets(conditional),
            "classes_with_a_quantile_of_their_own": float(np.mean(own)),
        },
        "calibration_error": _errors(pool, sets),
        "abstaining": {"not_certified": refused, **_abstaining(bounded)},
    }


def _sets(figures: Sequence[ConfidenceFigures]) -> dict[str, float]:
    found = [item.sets for item in figures if item.sets is not None]
    held = np.array([item.coverage.rate for item in found])
    worst = [min(r.rate for r in item.by_class.values() if r.trials >= 20) for item in found]
    return {
        "requested": COVERAGE,
        "coverage": float(held.mean()),
        "coverage_standard_deviation": float(held.std(ddof=1)),
        "mean_size": float(np.mean([item.mean_size for item in found])),
        "coverage_of_the_worst_class_of_20_or_more": float(np.mean(worst)),
    }


def _errors(pool: Pool, figures: Sequence[ConfidenceFigures]) -> dict[str, Any]:
    """Return calibration errors: means over the divisions, and of the whole pool, cross-fitted."""
    fold = np.random.default_rng(1).permutation(len(pool.targets)) % FOLDS
    scaled = np.empty_like(pool.logits)
    for number in range(FOLDS):
        rest, left_out = fold != number, fold == number
        fit = fit_temperatures(pool.logits[rest], pool.targets[rest], pool.tokens[rest])
        rule = DecisionRule(
            pool.rule.labels,
            temperature=fit.temperatures.pooled,
            length_temperatures=fit.temperatures.by_length,
        )
        scaled[left_out] = rule.probabilities(pool.logits[left_out], pool.tokens[left_out])
    plain = DecisionRule(pool.rule.labels).probabilities(pool.logits)
    right = is_right(pool.logits.argmax(axis=1), pool.targets)
    whole = {}
    for name, shares in (("before", plain), ("after", scaled)):
        error = calibration_error(shares.max(axis=1), right)
        whole[name] = {
            "debiased": error.debiased,
            "interval": [error.lower, error.upper],
            "plain": error.plain,
        }
    return {
        "mean_before": float(np.mean([item.before.debiased for item in figures])),
        "mean_after": float(np.mean([item.after.debiased for item in figures])),
        "mean_after_not_debiased": float(np.mean([item.after.plain for item in figures])),
        "whole_pool_cross_fitted": whole,
    }


def _abstaining(figures: Sequence[ConfidenceFigures]) -> dict[str, Any]:
    found = [item.abstention for item in figures if item.abstention is not None]
    if not found:
        return {"requested_error": MAX_ERROR}
    errors = np.array([item.error.rate for item in found])
    return {
        "requested_error": MAX_ERROR,
        "confidence": CONFIDENCE,
        "mean_error": float(errors.mean()),
        "mean_error_were_all_answered": float(np.mean([i.error_of_all.rate for i in found])),
        "mean_answered": float(np.mean([item.answered.rate for item in found])),
        "share_of_divisions_with_more_than_requested_in_test": float((errors > MAX_ERROR).mean()),
        "share_of_divisions_whose_95_percent_interval_is_above": float(
            np.mean([item.error.lower > MAX_ERROR for item in found])
        ),
    }


def least_ambiguous(shares: Doubles, noise: Doubles) -> Doubles:
    """Return the score of the product: one minus the probability, 0 for the likeliest."""
    del noise
    scores = 1.0 - shares
    scores[np.arange(len(scores)), shares.argmax(axis=1)] = 0.0
    return scores


def adaptive(shares: Doubles, noise: Doubles) -> Doubles:
    """Return the APS score (Romano, Sesia and Candès, 2020): the mass of all that is as likely."""
    order = np.argsort(-shares, axis=1, kind="stable")
    ranked = np.take_along_axis(shares, order, axis=1)
    mass = ranked.cumsum(axis=1) - noise[:, np.newaxis] * ranked
    scores = np.empty_like(mass)
    np.put_along_axis(scores, order, mass, axis=1)
    return scores


def regularized(shares: Doubles, noise: Doubles) -> Doubles:
    """Return the RAPS score (Angelopoulos et al., 2021): 0.01 more for each rank beyond two."""
    ranks = np.argsort(np.argsort(-shares, axis=1, kind="stable"), axis=1)
    return adaptive(shares, noise) + 0.01 * np.maximum(ranks - 1, 0)


def compare_scores(pool: Pool, splits: int) -> dict[str, dict[str, float]]:
    """Measure sets by each score on the same divisions."""
    kinds: dict[str, tuple[Callable[[Doubles, Doubles], Doubles], bool]] = {
        "LAC, likeliest always in": (least_ambiguous, False),
        "APS": (adaptive, False),
        "APS, randomized": (adaptive, True),
        "RAPS": (regularized, False),
        "RAPS, randomized": (regularized, True),
    }
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in kinds}
    rows = np.arange(len(pool.targets))
    for seed in range(splits):
        parts = Parts.of(len(pool.targets), seed)
        fit = fit_temperatures(
            *(a[parts.scaling] for a in (pool.logits, pool.targets, pool.tokens))
        )
        rule = DecisionRule(pool.rule.labels, temperature=fit.temperatures.pooled)
        shares = rule.probabilities(pool.logits).astype(np.float64)
        noise = np.random.default_rng(seed).random(len(shares))
        for name, (measure, is_random) in kinds.items():
            scores = measure(shares, noise if is_random else np.zeros(len(shares)))
            true = scores[rows, pool.targets]
            members = scores <= conformal_quantile_of(true[parts.bounding])
            sizes = members[parts.testing].sum(axis=1)
            held = (members[rows, pool.targets])[parts.testing]
            hard = shares[parts.testing].max(axis=1) < 0.9
            found[name].append((held.mean(), sizes.mean(), held[hard].mean()))
    names = ("coverage", "mean_size", "coverage_of_scores_below_90_percent")
    return {
        name: dict(zip(names, np.mean(values, axis=0).tolist(), strict=True))
        for name, values in found.items()
    }


def conformal_quantile_of(scores: Doubles) -> float:
    """Return the quantile for the coverage of this benchmark."""
    return conformal_quantile(scores, COVERAGE)


def print_figures(name: str, figures: dict[str, Any]) -> None:
    """Print what matters in words."""
    sets, errors = figures["label_sets"], figures["calibration_error"]
    whole, kept = errors["whole_pool_cross_fitted"]["after"], figures["abstaining"]
    low, high = whole["interval"]
    print(f"{name}: accuracy {100 * figures['accuracy']:.2f} %, {figures['documents']:,} documents")
    print(
        f"  sets: {100 * sets['coverage']:.2f} % covered at 95 %, {sets['mean_size']:.3f} labels; "
        f"calibration error {100 * whole['debiased']:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
    )
    if "mean_error" in kept:
        print(
            f"  1 % asked for: {100 * kept['mean_error']:.2f} % of the answers wrong, "
            f"{100 * kept['mean_answered']:.1f} % answered"
        )
    for kind, values in figures["scores_compared"].items():
        print(f"  {kind}: {100 * values['coverage']:.2f} %, {values['mean_size']:.3f} labels")


def run() -> None:
    """Train, score, divide again and again, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=Path, help="folder with fudan/; a synthetic one without")
    parser.add_argument("--model", action="append", default=[], help="NAME=BUNDLE; linear without")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    train, pool = divide(arguments.corpora)
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "corpus": "fudan" if arguments.corpora else "synthetic",
        "trained_on": len(train),
        "splits": arguments.splits,
        "models": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        bundles = dict(item.split("=", 1) for item in arguments.model)
        if not bundles:
            bundles = {"linear": str(train_linear(train, Path(folder)))}
        for name, bundle in bundles.items():
            scored = score(Path(bundle), pool)
            right = is_right(scored.logits.argmax(axis=1), scored.targets)
            figures = {
                "documents": len(right),
                "accuracy": float(right.mean()),
                **resplit(scored, arguments.splits),
                "scores_compared": compare_scores(scored, arguments.splits),
            }
            result["models"][name] = figures
            print_figures(name, figures)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run()
