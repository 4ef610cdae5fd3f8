"""What a student is taught: a teacher's answers beside the labels, as one part of the loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from longform.config import DistillationSettings, RunConfig
from longform.data.labels import LabelMap
from longform.errors import ConfigError
from longform.models import LongTextClassifier
from longform.reporting import Reporter
from longform.training.distillation import DistillationLoss, TargetColumns, VectorHint
from longform.training.losses import LossFunction
from longform.training.taught_dataset import TaughtDataset
from longform.training.teacher import Teacher
from longform.training.teacher_comparison import compare_with_teacher
from longform.types import Document, Floats, Targets


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A teacher's answers to the documents of a run, as training reads them.

    Attributes:
        columns: What stands where in `targets`.
        targets: float32 `[docs, columns]`, of the labelled documents and then the others.
        settings: Temperature and weights.
        labelled: How many documents have a label.
        hint: Part of the loss that has weights of its own; None without `hidden_weight`.
    """

    columns: TargetColumns
    targets: Floats
    settings: DistillationSettings
    labelled: int
    hint: VectorHint | None = None

    def soften(self, loss: LossFunction) -> LossFunction:
        """Return the loss of the student, given that of its labels."""
        return DistillationLoss(loss, self.columns, self.settings, self.hint)

    @contextmanager
    def given_to(self, head: nn.Module) -> Iterator[None]:
        """Let the student's head hold what the loss has to learn, as long as it trains."""
        if self.hint is None:
            yield
            return
        self.hint.attach(head)
        yield
        # Not where training fails: then there is no head to export.
        self.hint.detach(head)

    def dataset(self, documents: Any) -> TaughtDataset:
        """Return a dataset of all documents with the teacher's answers."""
        return TaughtDataset(documents, self.targets, self.labelled)


@dataclass(frozen=True, slots=True, eq=False)
class Distillation:
    """A teacher, and how a student learns from it.

    Attributes:
        teacher: Open, with vectors where `hidden_weight` is set.
        settings: Temperature and weights.
        unlabelled: Documents that have the teacher's answer alone.
    """

    teacher: Teacher
    settings: DistillationSettings
    unlabelled: tuple[Document, ...] = ()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What a run that is continued must have in common with its beginning."""
        return {"teacher": self.teacher.digest, **self.settings.model_dump()}

    def check(self, labels: LabelMap, config: RunConfig) -> None:
        """Make sure that this teacher can teach this student, before anything long begins.

        Raises:
            ConfigError: A setting makes no sense for a student.
            InputError: Teacher and student do not answer the same question.
        """
        if self.settings.hidden_weight and config.frozen:
            raise ConfigError(
                "hidden_weight draws the student's segment vectors to the teacher's, so they must "
                "be trained.",
                found=f"hidden_weight {self.settings.hidden_weight:g} and frozen: true",
                fix="Leave one of them out.",
            )
        if self.unlabelled and config.class_balance == "weighted_sampler":
            raise ConfigError(
                "class_balance: weighted_sampler draws documents by their labels.",
                found=f"{len(self.unlabelled):,} documents without one",
                fix="Leave out class_balance (class_weights: auto is possible), or --unlabelled.",
            )
        self.teacher.check(labels, config)

    def lesson(
        self,
        train: Sequence[Document],
        targets: Targets,
        labels: LabelMap,
        model: LongTextClassifier,
        reporter: Reporter,
    ) -> Lesson:
        """Ask the teacher about all documents to learn from.

        Args:
            train: The labelled ones.
            targets: Their labels as numbers.
            labels: Of the student.
            model: The student.
            reporter: Told how far the teacher is.

        Raises:
            InputError: The teacher cannot read a document.
        """
        answers = self.teacher.answers([*train, *self.unlabelled], labels, reporter)
        vectors, hint = answers.vectors, None
        if vectors is not None:
            vectors = (vectors - vectors.mean(axis=0)) / np.maximum(vectors.std(axis=0), 1e-6)
            hint = VectorHint(int(model.config.vector_size), vectors.shape[1])
        width = 0 if vectors is None else vectors.shape[1]
        columns = TargetColumns(len(labels), labels.is_multi_label, width)
        reporter.say(self._describe(len(train)))
        joined = columns.join(targets, answers.logits, vectors)
        return Lesson(columns, joined, self.settings, len(train), hint)

    def account(
        self,
        validation: Sequence[Document],
        labels: LabelMap,
        metrics: dict[str, float],
        model: nn.Module,
        reporter: Reporter,
    ) -> dict[str, Any]:
        """Hold the student against its teacher on the validation documents, and say the result.

        Args:
            validation: Labelled documents.
            labels: Of the student.
            metrics: Accuracy and macro-F1 of the student on them.
            model: The student.
            reporter: Told how the two compare.

        Returns:
            Settings, figures of the teacher, relative accuracy (None where the teacher has none
            right) and numbers of parameters, for the bundle.
        """
        return {
            **self.settings.model_dump(),
            "unlabelled_documents": len(self.unlabelled),
            **compare_with_teacher(self.teacher, validation, labels, metrics, model, reporter),
        }

    def _describe(self, labelled: int) -> str:
        settings = self.settings
        hidden = f", vectors {settings.hidden_weight:g}" if settings.hidden_weight else ""
        return (
            f"Distillation: {labelled:,} documents with labels and {len(self.unlabelled):,} "
            f"without; labels {settings.hard_share:g}, teacher {1 - settings.hard_share:g}{hidden} "
            f"of the loss, temperature {settings.temperature:g}."
        )
