"""How close the exports of a bundle come to the trained model, on documents read from their text.

python benchmarks/parity.py runs/e5 --data dev.jsonl.gz --documents 200 --json parity.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from longform.backends.choice import candidates, machine_name, open_candidate
from longform.backends.torch import TorchBackend
from longform.bundle import load_bundle
from longform.data.readers import read_documents
from longform.decision.rule import DecisionRule
from longform.export.parity import ParityCheck
from longform.inference.neural import NeuralScorer
from longform.text.segmenter import Segmenter
from longform.text.tokenization import TextTokenizer


def main() -> None:
    """Compare, print a line a target, and write the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    # By default what `make demo` leaves, so that `make bench` runs anywhere.
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("runs/demo/whole"))
    parser.add_argument("--data", type=Path, default=Path("runs/demo/test.csv"))
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--target", action="append", help="runtime:precision; all by default")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    bundle = load_bundle(arguments.bundle)
    tokenizer = TextTokenizer.from_file(bundle.path("tokenizer.json"))
    segmenter = Segmenter(tokenizer, bundle.description.knobs.segments)
    documents = read_documents(arguments.data).documents[: arguments.documents]
    pairs = bundle.description.text_pair
    reference = NeuralScorer(segmenter, TorchBackend.from_folder(bundle.folder), pairs=pairs)
    described = bundle.description
    rule = DecisionRule.from_description(described)
    check = ParityCheck(reference, documents, rule)
    records = []
    for candidate in candidates(bundle):
        if arguments.target and str(candidate) not in arguments.target:
            continue
        scorer = NeuralScorer(segmenter, open_candidate(bundle, candidate), pairs=pairs)
        record = check.compare(str(candidate), scorer)
        records.append(record.as_dict())
        print(
            f"{record.target}: largest logit difference {record.largest_logit_difference:.3g}, "
            f"same label {100 * record.label_agreement:.2f} % of {record.documents}, "
            f"passed {record.passed}",
            flush=True,
        )
    if arguments.json:
        content = {"machine": machine_name(), "data": arguments.data.name, "records": records}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
