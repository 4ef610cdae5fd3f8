"""`longform distill`: a small model that learns from a large one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longform.cli.arguments import (
    AsJson,
    BackendName,
    Encoding,
    EncodingErrors,
    RunLabelColumn,
    RunLabelSeparator,
    RunSettings,
    RunTextColumn,
    RunTextPairColumn,
    SetSettings,
    print_json,
    resolve_config,
)
from longform.cli.train import Overwrite, Restart
from longform.cli.training_run import run_reporter, run_training

if TYPE_CHECKING:
    from longform.config import DistillationSettings, RunConfig
    from longform.data.preparation import PreparedData
    from longform.reporting import Reporter
    from longform.training.lessons import Distillation
    from longform.types import Document


TeacherFolder = Annotated[
    Path | None,
    typer.Option("--teacher", help="Bundle to learn from, of any kind, on the same labels."),
]
StudentConfig = Annotated[
    Path | None,
    typer.Option(help="YAML file with the settings of the student, as 'longform train' reads."),
]
LabelledData = Annotated[
    Path | None,
    typer.Option(help="Labelled documents: a file of any kind in docs/data.md, or a folder."),
]
ValidationData = Annotated[
    Path | None,
    typer.Option(
        help="Labelled documents that choose the best epoch and judge student and teacher. "
        "Left out, a tenth of the data is held out, by class."
    ),
]
UnlabelledData = Annotated[
    Path | None,
    typer.Option(help="More documents, which the teacher alone answers; labels are not read."),
]
StudentFolder = Annotated[Path | None, typer.Option(help="Folder of the student's bundle.")]
StudentEncoder = Annotated[
    str | None,
    typer.Option(
        help="Of the student: 'bag' trains from nothing; otherwise the folder or name of a "
        "Hugging Face encoder."
    ),
]
Temperature = Annotated[
    float, typer.Option(help="Softens the answers of both before they are compared.")
]
HardShare = Annotated[
    float, typer.Option(help="Weight of the labels' loss; the teacher's answers have the rest.")
]
HiddenWeight = Annotated[
    float, typer.Option(help="Weight of the distance between the mean segment vectors of both.")
]


def distill(  # noqa: PLR0913 - one argument for each flag
    settings: RunSettings = None,
    teacher: TeacherFolder = None,
    student_config: StudentConfig = None,
    data: LabelledData = None,
    validation: ValidationData = None,
    unlabelled: UnlabelledData = None,
    output: StudentFolder = None,
    encoder: StudentEncoder = None,
    set_: SetSettings = None,
    temperature: Temperature = 2.0,
    hard_share: HardShare = 0.7,
    hidden_weight: HiddenWeight = 0.0,
    backend: BackendName = "auto",
    text_column: RunTextColumn = None,
    label_column: RunLabelColumn = None,
    text_pair_column: RunTextPairColumn = None,
    label_separator: RunLabelSeparator = None,
    encoding: Encoding = None,
    encoding_errors: EncodingErrors = None,
    overwrite: Overwrite = False,
    restart: Restart = False,
    as_json: AsJson = False,
) -> None:
    """Train a student on labels and on a teacher's answers, and write it as a bundle.

    The loss is hard-share of the labels' loss and the rest of the divergence from the teacher.
    The teacher runs on --backend; its answers are cached, and an interrupted run is continued by
    the same command.
    """
    from longform.config import DistillationSettings, read_settings

    paths = {"data": data, "validation": validation, "output_dir": output}
    flags = {name: str(path) if path else None for name, path in paths.items()}
    flags |= {
        "encoder": encoder,
        "text_column": text_column,
        "label_column": label_column,
        "text_pair_column": text_pair_column,
        "label_separator": label_separator,
        "encoding": encoding,
        "encoding_errors": encoding_errors,
    }
    files = [str(student_config)] if student_config else []
    config = resolve_config([*files, *(settings or [])], set_ or [], flags)
    weights = {"temperature": temperature, "hard_share": hard_share, "hidden_weight": hidden_weight}
    learning = read_settings(DistillationSettings, weights)
    lessons = _Lessons(_required_teacher(teacher), backend, unlabelled, learning)
    summary = _run(config, lessons, run_reporter(), overwrite=overwrite, restart=restart)
    if as_json:
        print_json(summary)


@dataclass(frozen=True, slots=True)
class _Lessons:
    """What the flags say of the teacher."""

    teacher: Path
    backend: str
    unlabelled: Path | None
    settings: DistillationSettings


def _run(
    config: RunConfig, lessons: _Lessons, reporter: Reporter, *, overwrite: bool, restart: bool
) -> dict[str, Any]:
    from longform.data.preparation import read_unlabelled
    from longform.inference.predictor import load
    from longform.training.teacher import Teacher, measure_speed

    judges: list[Document] = []
    with_vectors = lessons.settings.hidden_weight > 0
    with Teacher(lessons.teacher, lessons.backend, with_vectors=with_vectors) as teacher:

        def teach(prepared: PreparedData) -> Distillation:
            from longform.training.lessons import Distillation

            judges.extend(prepared.validation)
            others: tuple[Document, ...] = ()
            if lessons.unlabelled is not None:
                others = read_unlabelled(lessons.unlabelled, config, prepared, reporter)
            return Distillation(teacher, lessons.settings, others)

        summary = run_training(config, reporter, overwrite=overwrite, restart=restart, teach=teach)
        with load(summary["bundle"], "auto", reporter) as student:
            speeds = {
                "student": round(measure_speed(student, judges), 2),
                "teacher": round(teacher.speed(judges, reporter), 2),
            }
    reporter.say(
        f"Documents a second on this machine: student {speeds['student']:,.1f}, teacher "
        f"{speeds['teacher']:,.1f}."
    )
    return {**summary, "documents_per_second": speeds}


def _required_teacher(teacher: Path | None) -> Path:
    from longform.errors import InputError

    if teacher is None:
        raise InputError(
            "Distillation needs a teacher.",
            found="no --teacher",
            fix="Add --teacher BUNDLE, a folder that 'longform train' wrote.",
        )
    return teacher
