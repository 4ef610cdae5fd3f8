"""Is the evidence true? Delete what it points at, read again, and compare with deleting at random.

For each document of a held-out file its passages are ranked by several figures of the evidence.
The first passages of each ranking, up to a share of the characters, are removed from the text, and
the model reads what is left. A ranking is the better the more of the label's probability is lost.
The same is done for random orders of the same passages, several times.

    python benchmarks/evidence.py --bundle BUNDLE --data DEV.jsonl.gz --json OUT.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, print_machine
from numpy.typing import NDArray

from longform.data.readers import DocumentReader
from longform.decision.evidence import EvidenceOptions
from longform.inference.predictor import Predictor, load
from longform.types import Document, Integers

GOAL = 3.0
"""Least ratio of the mean falls of probability, by evidence and at random, at a tenth."""
TENTH = 0.1
SHARES = (0.05, TENTH, 0.2, 0.3, 0.5)
RANDOM = "random"
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Unit:
    """What may be deleted as one: characters of a text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Units in the order in which they are deleted, int64 `[units]`."""

    method: str
    units: Sequence[Unit]
    order: Integers


def delete(text: str, ranking: Ranking, share: float) -> str:
    """Return a text without its first units, those that fit into a share of its characters."""
    spans = np.array([(unit.start, unit.end) for unit in ranking.units])[ranking.order]
    lengths = spans[:, 1] - spans[:, 0]
    left = share * len(text)
    if (lengths == lengths[0]).all():
        chosen = spans[: int(left // lengths[0])]
    else:
        fits = []
        for length in lengths.tolist():
            fits.append(length <= left)
            left -= length * fits[-1]
        chosen = spans[fits]
    depth = np.zeros(len(text) + 1, dtype=np.int64)
    np.add.at(depth, chosen[:, 0], 1)
    np.add.at(depth, chosen[:, 1], -1)
    signs = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    kept = signs[depth[:-1].cumsum() == 0]
    return kept.tobytes().decode("utf-32-le", "surrogatepass")


def rank(
    predictor: Predictor, document: Document, row: int, draws: int, generator: np.random.Generator
) -> Iterator[Ranking]:
    """Yield the rankings of a document that is read whole; none where it has too few passages."""
    label = predictor.rule.labels[row]
    (answer,) = predictor.predict([document], evidence=EvidenceOptions(refine=True, label=label))
    parts = answer.evidence or ()
    # With fewer, no passage fits into a tenth of the text.
    if len(parts) < 10:
        return
    units = [Unit(part.start, part.end) for part in parts]
    yield Ranking("log_odds", units, np.argsort([-part.log_odds for part in parts]))
    yield Ranking("contribution", units, np.argsort([-part.contribution for part in parts]))
    without = [
        Document(str(index), document.text[: unit.start] + document.text[unit.end :])
        for index, unit in enumerate(units)
    ]
    falls = -read(predictor, without, row)[1]
    yield Ranking("leave_one_out_of_the_text", units, np.argsort(-falls))
    (reading,) = predictor.scorer.read([document])
    split = predictor.scorer.token_split(document, reading, predictor.rule, label)
    if split is not None:
        tokens = [token for token in split.tokens if token.end > token.start]
        pieces = [Unit(token.start, token.end) for token in tokens]
        order = np.argsort([-token.contribution for token in tokens])
        yield Ranking("tokens", pieces, order)
    for _ in range(draws):
        yield Ranking(RANDOM, units, generator.permutation(len(units)))
        if split is not None:
            yield Ranking("random_tokens", pieces, generator.permutation(len(pieces)))


def read(predictor: Predictor, documents: Sequence[Document], row: int) -> tuple[Doubles, Doubles]:
    """Return the probability and the log-odds of a label, float64 `[docs]` each."""
    scores = predictor.scorer.score(documents)
    tokens = np.array([coverage.tokens_total for coverage in scores.coverage])
    probabilities = predictor.rule.probabilities(scores.logits, tokens)[:, row]
    odds = predictor.rule.log_odds(scores.logits, tokens)[:, row]
    return probabilities.astype(np.float64), odds


def measure(
    predictor: Predictor, documents: Sequence[Document], draws: int, seed: int
) -> dict[str, Any]:
    """Return the mean falls of each method at each share, and the ratios to random."""
    generator = np.random.default_rng(seed)
    falls: dict[tuple[str, float], list[list[tuple[float, float]]]] = defaultdict(list)
    used = 0
    for document in documents:
        scores = predictor.scorer.score([document])
        row = int(predictor.rule.probabilities(scores.logits)[0].argmax())
        rankings = list(rank(predictor, document, row, draws, generator))
        if not rankings:
            continue
        used += 1
        jobs = [(ranking, share) for ranking in rankings for share in SHARES]
        texts = [
            Document(str(index), delete(document.text, *job)) for index, job in enumerate(jobs)
        ]
        likely, odds = read(predictor, [document, *texts], row)
        found: dict[tuple[str, float], list[tuple[float, float]]] = defaultdict(list)
        for index, (ranking, share) in enumerate(jobs, start=1):
            fall = (float(likely[0] - likely[index]), float(odds[0] - odds[index]))
            found[ranking.method, share].append(fall)
        for key, each in found.items():
            falls[key].append(each)
    means = {key: np.array(each).mean(axis=1) for key, each in falls.items()}
    return {
        "documents": used,
        "draws": draws,
        "curves": [
            {
                "method": method,
                "share": share,
                "fall_of_probability": round(float(values[:, 0].mean()), 5),
                "fall_of_log_odds": round(float(values[:, 1].mean()), 4),
            }
            for (method, share), values in sorted(means.items())
        ],
        "at_a_tenth": compare(means, generator),
    }


def compare(
    means: dict[tuple[str, float], Doubles], generator: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Return the ratio of each method to random at a tenth, with bootstrapped 95 % intervals.

    Where deleting at random costs next to nothing, the ratio is of no use. The `margin` is: what
    a method costs less `GOAL` times what chance costs. Above 0, the goal is reached.
    """
    found = {}
    for (method, share), values in means.items():
        if share != TENTH or method.startswith(RANDOM):
            continue
        baseline = means[("random_tokens" if method == "tokens" else RANDOM, TENTH)]
        rows = generator.integers(len(values), size=(2_000, len(values)))
        ratios = values[rows].mean(axis=1) / baseline[rows].mean(axis=1)
        low, high = np.percentile(ratios, [2.5, 97.5], axis=0)
        margins = (values - GOAL * baseline)[rows].mean(axis=1)
        least, most = np.percentile(margins, [2.5, 97.5], axis=0)
        found[method] = {
            name: {
                "ratio": round(float(values[:, column].mean() / baseline[:, column].mean()), 2),
                "interval": [round(float(low[column]), 2), round(float(high[column]), 2)],
                "margin": round(float((values - GOAL * baseline)[:, column].mean()), 4),
                "margin_interval": [round(float(edge[column]), 4) for edge in (least, most)],
            }
            for column, name in enumerate(("probability", "log_odds"))
        }
    return found


def main() -> int:
    """Measure, print, and tell by the exit status whether the goal was reached."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument(
        "--longest", type=int, help="Characters of a document from which on it is passed over."
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    machine = describe_machine()
    print_machine(machine)
    reader = DocumentReader(asked.data, labelled=False)
    longest = asked.longest or sys.maxsize
    short = (document for document in reader if len(document.text) <= longest)
    documents = list(islice(short, asked.documents))
    with load(asked.bundle, asked.backend) as predictor:
        found = measure(predictor, documents, asked.draws, asked.seed)
        kind = predictor.bundle.description.kind
    for method, ratios in found["at_a_tenth"].items():
        print(f"{method}: {ratios}")
    best = found["at_a_tenth"]["log_odds"]["probability"]["ratio"]
    if asked.json is not None:
        content = {"machine": machine, "kind": kind, "data": asked.data.name, "goal": GOAL}
        content |= {"longest_document": asked.longest, **found}
        asked.json.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return 0 if best >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
