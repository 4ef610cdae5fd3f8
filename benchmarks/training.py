"""Fine-tuning an encoder: longform beside the plain loop that people write, in one run.

The plain loop reads one document at a time, its segments one by one, each padded to 512 tokens, in
fp32: a [CLS] vector for each segment, a BiLSTM over them, a loss for each document. longform trains
the same encoder on the same documents for the same epochs, in three ways: every token in two
passes, the default draw of segments, and the head alone on cached vectors. Steps of the plain loop
and of longform take turns within one process, so that both meet the same machine.

    python benchmarks/training.py --encoder FOLDER --train train.jsonl.gz --dev dev.jsonl.gz
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine, print_machine
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, TrainerCallback

from longform.config import RunConfig
from longform.data.labels import LabelMap
from longform.data.readers import read_documents
from longform.data.splits import stratified_split
from longform.evaluation.metrics import accuracy
from longform.reporting import Reporter
from longform.training.fit import fit
from longform.types import Document

_PLAIN_BATCH = 8
_RATE = 5e-5


class PlainLoop(nn.Module):
    """The classifier and the loop that one finds in tutorials."""

    def __init__(self, encoder: Path, classes: int) -> None:
        super().__init__()
        self.tokenizer = AutoTokenizer.from_pretrained(encoder)
        self.first, self.last = self.tokenizer("")["input_ids"]
        self.pad = self.tokenizer.pad_token_id
        self.bert = AutoModel.from_pretrained(encoder, dtype="float32", add_pooling_layer=False)
        size = self.bert.config.hidden_size
        self.lstm = nn.LSTM(size, 256, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(512, classes)

    def forward(self, text: str) -> Tensor:
        """Score one document, segment by segment: logits float `[1, classes]`."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        vectors = []
        for start in range(0, max(len(ids), 1), 510):
            piece = [self.first, *ids[start : start + 510], self.last]
            padding = 512 - len(piece)
            output = self.bert(
                input_ids=torch.tensor([piece + [self.pad] * padding]),
                attention_mask=torch.tensor([[1] * len(piece) + [0] * padding]),
            )
            vectors.append(output.last_hidden_state[:, 0])
        states, _ = self.lstm(torch.stack(vectors, dim=1))
        return self.classifier(states[:, -1])

    def steps(self, documents: Sequence[Document], labels: Any, epochs: int) -> Iterator[int]:
        """Train, a step of a batch at a time; yields the documents read."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=_RATE)
        generator = np.random.default_rng(0)
        for _ in range(epochs):
            order = generator.permutation(len(documents))
            for start in range(0, len(order), _PLAIN_BATCH):
                self.train()
                rows = order[start : start + _PLAIN_BATCH]
                for row in rows:
                    target = torch.tensor([int(labels[row])])
                    loss = nn.functional.cross_entropy(self(documents[row].text), target)
                    (loss / len(rows)).backward()
                optimizer.step()
                optimizer.zero_grad()
                yield len(rows)

    @torch.inference_mode()
    def judge(self, documents: Sequence[Document], labels: Any) -> float:
        """Return the accuracy on documents."""
        self.eval()
        answers = [int(self(document.text).argmax()) for document in documents]
        return float(accuracy(np.array(labels), np.array(answers)))


class Turns(TrainerCallback):
    """Lets the plain loop take its steps between those of the Trainer, and times both."""

    def __init__(self, plain: Iterator[int], every: int = 1) -> None:
        self._plain = plain
        self._every = every
        self.plain_documents, self.plain_seconds = 0, 0.0
        self.seconds, self.steps = 0.0, 0
        self._started = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock of the Trainer's step."""
        self._started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop it, and take a step of the plain loop."""
        self.seconds += time.perf_counter() - self._started
        self.steps += 1
        if self.steps % self._every:
            return
        started = time.perf_counter()
        self.plain_documents += next(self._plain, 0)
        self.plain_seconds += time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to train.

    Attributes:
        documents_per_second: Of training steps alone, without validation.
        ratio: Over the plain loop in the same turns.
        accuracy: On the dev documents, after the last epoch.
    """

    name: str
    documents_per_second: float
    ratio: float
    accuracy: float


class EpochTimes(TrainerCallback):
    """Seconds of each epoch, from its begin to its last step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        """Stop it, before the validation."""
        self.seconds.append(time.perf_counter() - self._started)


def train(
    settings: dict[str, Any],
    parts: tuple[Sequence[Document], Sequence[Document]],
    callbacks: Sequence[TrainerCallback],
) -> float:
    """Train with longform; return the accuracy on the dev documents after the last epoch."""
    config = RunConfig(**settings)
    with tempfile.TemporaryDirectory() as folder:
        trained = fit(
            config, parts[0], parts[1], Path(folder), Reporter(), callbacks=list(callbacks)
        )
    return float(trained.metrics["accuracy"])


def show(contender: Contender) -> Contender:
    """Print one line."""
    print(
        f"  {contender.name:28} {contender.documents_per_second:9.3f} documents/s "
        f"{contender.ratio:8.1f} x   accuracy {100 * contender.accuracy:.1f}",
        flush=True,
    )
    return contender


def main() -> None:
    """Train all contenders and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--encoder", type=Path, required=True, help="folder of an encoder")
    parser.add_argument("--train", type=Path, required=True, help="training documents")
    parser.add_argument("--dev", type=Path, required=True, help="documents that judge")
    parser.add_argument("--documents", type=int, default=240)
    parser.add_argument("--dev-documents", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument(
        "--frozen-only", action="store_true", help="measure only the last contender"
    )
    parser.add_argument(
        "--most-characters",
        type=int,
        default=12_000,
        help="of a document: the plain loop runs out of memory on longer ones",
    )
    parser.add_argument("--prefix", default="query: ", help="segment_prefix of the encoder")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    machine = describe_machine()
    print_machine(machine)
    everything, judging = (
        [
            document
            for document in read_documents(path).documents
            if len(document.text) <= arguments.most_characters
        ]
        for path in (arguments.train, arguments.dev)
    )
    share = arguments.documents / len(everything)
    documents = stratified_split(everything, share, 7).validation
    known = {document.label for document in documents}
    dev = [item for item in judging if item.label in known][: arguments.dev_documents]
    labels = LabelMap.from_documents(documents)
    targets, dev_targets = labels.targets(documents), labels.targets(dev)
    torch.manual_seed(0)
    plain = PlainLoop(arguments.encoder, len(labels))
    common = {
        "encoder": str(arguments.encoder),
        "segment_prefix": arguments.prefix,
        "num_train_epochs": arguments.epochs,
        "per_device_train_batch_size": _PLAIN_BATCH,
        "metric_for_best_model": "accuracy",
    }
    contenders: list[Contender] = []

    def report(name: str, turns: Turns, reached: float) -> None:
        ours = len(documents) * arguments.epochs / turns.seconds
        theirs = turns.plain_documents / turns.plain_seconds
        contenders.append(show(Contender(name, ours, ours / theirs, reached)))

    if not arguments.frozen_only:
        # The plain loop is trained in full beside the run that reads every token, as it does.
        turns = Turns(plain.steps(documents, targets, arguments.epochs))
        reached = train({**common, "two_pass": True}, (documents, dev), [turns])
        plain_accuracy = plain.judge(dev, dev_targets)
        report("every token, two passes", turns, reached)
        speed = turns.plain_documents / turns.plain_seconds
        contenders.insert(0, show(Contender("plain loop", speed, 1.0, plain_accuracy)))

        # Its speed alone is measured again beside the others.
        turns = Turns(plain.steps(documents, targets, arguments.epochs), every=10)
        report("8 drawn segments (default)", turns, train(common, (documents, dev), [turns]))

    times = EpochTimes()
    started = time.perf_counter()
    again = plain.steps(documents, targets, 1)
    count = sum(next(again) for _ in range(2))
    speed = count / (time.perf_counter() - started)
    frozen = {**common, "frozen": True, "num_train_epochs": 12, "per_device_train_batch_size": 32}
    reached = train(frozen, (documents, dev), [times])
    ours = len(documents) / float(np.median(times.seconds[1:]))
    contenders.append(show(Contender("frozen, from epoch 2 on", ours, ours / speed, reached)))
    if arguments.json:
        content = {
            "machine": machine,
            "documents": len(documents),
            "dev_documents": len(dev),
            "epochs": arguments.epochs,
            "most_characters": arguments.most_characters,
            "contenders": [asdict(contender) for contender in contenders],
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
