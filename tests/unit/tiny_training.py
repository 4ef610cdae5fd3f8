"""A Trainer of a tiny bag model on random documents: a run of a second."""

from __future__ import annotations

import numpy as np
import torch

from longform.config import RunConfig
from longform.models import LongTextClassifier, LongTextConfig
from longform.reporting import Reporter
from longform.training.devices import Device
from longform.training.features import SegmentCollator, SegmentDataset
from longform.training.trainer import LongTextTrainer
from longform.types import Coverage, Segment, SegmentedDocument


def make_document(generator) -> SegmentedDocument:
    count = int(generator.integers(1, 5))
    ids = [generator.integers(1, 40, 6).astype(np.int32) for _ in range(count)]
    index = np.arange(count)
    places = [index, index / count, (index + 1) / count, np.zeros(count)]
    return SegmentedDocument(
        tuple(Segment(0, 6, row) for row in ids),
        np.stack(places, axis=1).astype(np.float32),
        Coverage(count * 6, count * 6, count, count),
    )


def make_trainer(folder, reporter=None, callbacks=(), **settings) -> LongTextTrainer:
    """8 documents a step; validation by 8 steps, so once in a run of 8 steps."""
    generator = np.random.default_rng(0)
    documents = [make_document(generator) for _ in range(64)]
    dataset = SegmentDataset(documents, np.arange(64) % 2)
    torch.manual_seed(0)
    model = LongTextClassifier(
        LongTextConfig(
            vocabulary_size=40,
            bag_dimension=6,
            bag_buckets=101,
            dropout=0.0,
            aggregator="mean",
            num_labels=2,
        )
    )
    values = {"max_steps": 8, "per_device_train_batch_size": 8, "early_stopping_patience": 99}
    return LongTextTrainer(
        model,
        RunConfig(**{**values, **settings}),
        folder,
        Device("cpu", False, "a test"),
        reporter or Reporter(),
        callbacks=callbacks,
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=SegmentCollator(pad_id=0),
    )
