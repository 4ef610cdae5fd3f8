"""Planned batches as torch reads them, and the losses that hard examples are drawn by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import prepare_data_loader
from accelerate.utils import gather
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from longform.config import TrainingSettings
from longform.data.batching import Batch, BatchPlan
from longform.data.sampling import balanced_probabilities
from longform.errors import InputError
from longform.types import Floats

_FILE = "document_losses.npz"

Collate = Callable[[Sequence[dict[str, Any]]], dict[str, Tensor]]


def plan_batches(
    config: TrainingSettings, documents: Any, arguments: TrainingArguments, by_length: bool
) -> BatchPlan:
    """Plan the batches of a run.

    Args:
        config: `class_balance`, `train_batch_tokens` and `hard_example_share` are read.
        documents: The training dataset, with `sizes` and `labels`.
        arguments: Of the Trainer.
        by_length: Whether documents of like length should come together.
    """
    balanced = config.class_balance == "weighted_sampler"
    return BatchPlan(
        sizes=documents.sizes,
        seed=config.seed,
        batch_size=arguments.train_batch_size,
        token_budget=config.train_batch_tokens,
        probabilities=balanced_probabilities(documents.labels) if balanced else None,
        hard_share=config.hard_example_share,
        processes=arguments.world_size,
        by_length=by_length,
    )


def is_special(config: TrainingSettings) -> bool:
    """Tell whether a run asks for more than every document once, in batches of one size."""
    return bool(
        config.class_balance == "weighted_sampler"
        or config.train_batch_tokens
        or config.hard_example_share
    )


class DocumentLosses:
    """The last known loss of every training document, the same on every process.

    Losses come from the training steps themselves. Those of an epoch count from the next one on.

    Args:
        documents: How many there are.
        device: Where processes exchange tensors.
    """

    def __init__(self, documents: int, device: torch.device) -> None:
        self.known: Floats = np.full(documents, np.nan, dtype=np.float32)
        self._fresh: Floats = self.known.copy()
        self._pending: list[tuple[Tensor, Tensor]] = []
        self._device = device

    def record(self, indices: Tensor, losses: Tensor) -> None:
        """Note the losses float `[docs]` of a step; kept where they are, to wait for no device."""
        self._pending.append((indices.detach(), losses.detach()))

    def finish_epoch(self) -> None:
        """Let the losses of this epoch count. Every process must call it."""
        self._exchange()
        self.known = np.where(np.isnan(self._fresh), self.known, self._fresh)
        self._fresh = np.full_like(self.known, np.nan)

    def save(self, folder: Path, write: bool) -> None:
        """Keep the losses with a checkpoint. Every process must call it, and one should write."""
        self._exchange()
        if write:
            np.savez(folder / _FILE, known=self.known, fresh=self._fresh)

    def load(self, folder: Path) -> None:
        """Continue from the losses of a checkpoint.

        Raises:
            InputError: The checkpoint has no losses, or those of another number of documents.
        """
        path = folder / _FILE
        found = f"{folder} has no {_FILE}"
        if path.is_file():
            with np.load(path) as stored:
                known, fresh = stored["known"], stored["fresh"]
            if known.shape == self.known.shape:
                self.known, self._fresh = known, fresh
                return
            found = f"{len(known):,} documents there and {len(self.known):,} here"
        raise InputError(
            "A run with hard_example_share must continue with the documents and settings that it "
            "began with.",
            found=found,
            fix="Remove the folder to start anew, or restore the data and settings of the run.",
        )

    def _exchange(self) -> None:
        """Bring the losses that each process saw to all; of several for a document, their mean."""
        for indices, losses in self._pending:
            self._fresh[indices.cpu().numpy()] = losses.float().cpu().numpy()
        self._pending = []
        mine = torch.from_numpy(self._fresh).to(self._device)
        everyone = gather(mine).reshape(-1, len(self.known)).cpu()
        self._fresh = everyone.nanmean(dim=0).numpy()


class LossKeeper(TrainerCallback):
    """Tells `DocumentLosses` when an epoch ends and when a checkpoint is written.

    Args:
        losses: Kept with every checkpoint.
    """

    def __init__(self, losses: DocumentLosses) -> None:
        self._losses = losses

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Let the losses of the epoch count."""
        self._losses.finish_epoch()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Write them into the checkpoint."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        self._losses.save(folder, write=args.should_save)


class PlannedBatches(Sampler[Batch]):
    """The batches of one process, anew for each epoch.

    Args:
        plan: For all processes.
        process: Number of this one.
        losses: What hard examples are drawn by.
    """

    def __init__(self, plan: BatchPlan, process: int, losses: DocumentLosses | None) -> None:
        self._plan = plan
        self._process = process
        self._losses = losses
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the Trainer calls it before each, a continued one too."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._plan.batches_per_epoch // self._plan.processes

    def __iter__(self) -> Iterator[Batch]:
        known = None if self._losses is None else self._losses.known
        batches = self._plan.batches(self._epoch, known)
        yield from batches[self._process :: self._plan.processes]


def planned_loader(
    dataset: Any, sampler: PlannedBatches, collate: Collate, args: TrainingArguments
) -> DataLoader[dict[str, Tensor]]:
    """Return a loader of this process's batches.

    Args:
        dataset: The training documents.
        sampler: Knows this process's share, so that accelerate must not divide it once more.
        collate: Makes a batch of documents.
        args: Of the Trainer.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        pin_memory=args.dataloader_pin_memory,
    )
    return prepare_data_loader(
        loader, args.device, num_processes=1, process_index=0, put_on_device=True
    )
