"""One of several processes that train together; run by test_balancing.py.

Arguments: a folder, and settings of runs as a JSON list. Writes what this process saw in each run
to `process-N.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from longform.config import RunConfig
from longform.models import LongTextConfig
from longform.models.classifier import Head
from longform.reporting import Reporter
from longform.training.devices import Device
from longform.training.features import INDICES, VectorDataset, collate_vectors
from longform.training.trainer import HeadModel, LongTextTrainer

WIDTH, DOCUMENTS = 4, 23


class Recording(LongTextTrainer):
    """Remembers the documents of every training step."""

    def __init__(self, *arguments, **kwargs) -> None:
        self.steps: list[list[int]] = []
        super().__init__(*arguments, **kwargs)

    def training_step(self, model, inputs, *arguments, **kwargs):
        self.steps.append(inputs[INDICES].tolist())
        return super().training_step(model, inputs, *arguments, **kwargs)


def run(folder: Path, settings: dict) -> dict:
    """Train a tiny head and return what this process saw."""
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    labels = np.arange(DOCUMENTS) % 5 // 4
    rows = [generator.normal(size=(1 + n % 6, WIDTH)).astype("float32") for n in range(DOCUMENTS)]
    dataset = VectorDataset(rows, [np.zeros((len(row), 4), "float32") for row in rows], labels)
    config = LongTextConfig(bag_dimension=WIDTH, dropout=0.0, aggregator="mean", num_labels=2)
    trainer = Recording(
        HeadModel(Head(config)),
        RunConfig(**settings),
        folder,
        Device("cpu", False, "a test"),
        Reporter(),
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=collate_vectors,
    )
    trainer.fit()
    model = trainer.accelerator.unwrap_model(trainer.model)
    return {
        "process": trainer.args.process_index,
        "steps": trainer.steps,
        "planned": [
            trainer._plan.batches(epoch) for epoch in range(int(trainer.args.num_train_epochs))
        ],
        "optimizer_steps": trainer.state.global_step,
        "weights": [value.flatten().tolist() for value in model.state_dict().values()],
        "losses": None if trainer._losses is None else trainer._losses.known.tolist(),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    runs = [
        run(folder / str(number), settings)
        for number, settings in enumerate(json.loads(sys.argv[2]))
    ]
    name = f"process-{runs[0]['process']}.json"
    (folder / name).write_text(json.dumps(runs), encoding="utf-8")
