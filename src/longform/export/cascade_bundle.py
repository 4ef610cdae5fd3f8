"""A certified cascade to a bundle: its stages as they are, the certificate, a description."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import longform
from longform.bundle import (
    CERTIFICATE_FILE,
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    Bundle,
    BundleDescription,
    stage_folder,
    write_description,
    writing_bundle,
)
from longform.decision.certificate import Certificate
from longform.errors import InputError


def require_same_task(stages: Sequence[Bundle]) -> None:
    """Refuse stages that cannot stand for one another.

    Raises:
        InputError: There are fewer than two steps to choose among, or labels, their order, the
            kind of problem, or the number of texts differ.
    """
    last = stages[-1]
    for stage in stages:
        if stage.description.kind == "cascade":
            raise InputError(
                "The stages of a cascade are single models.",
                found=f"{stage.folder.name} is a cascade",
                fix="Name the models that it was made of.",
            )
        described, wanted = stage.description, last.description
        for what, one, other in (
            ("labels", described.labels, wanted.labels),
            ("kind of problem", described.problem_type, wanted.problem_type),
            ("number of texts", described.text_pair, wanted.text_pair),
        ):
            if one != other:
                raise InputError(
                    f"All stages of a cascade must have the same {what}, in the same order.",
                    found=f"{stage.folder.name} differs from {last.folder.name}"
                    + (f": {_difference(one, other)}" if what == "labels" else ""),
                    fix="Train them on files with the same labels.",
                )


def write_cascade(
    stages: Sequence[Bundle], certificate: Certificate, target: Path, *, overwrite: bool = False
) -> None:
    """Save a cascade.

    Args:
        stages: Verified bundles, cheap ones first; they are copied whole.
        certificate: Given for these very bundles.
        target: The bundle's folder.
        overwrite: Replace a bundle that is there.

    Raises:
        InputError: The target cannot be written.
    """
    with writing_bundle(target, overwrite=overwrite) as folder:
        for number, stage in enumerate(stages):
            for name in (*stage.files, MANIFEST_FILE):
                copy = folder / stage_folder(number) / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(stage.folder / name, copy)
        text = certificate.model_dump_json(indent=1)
        (folder / CERTIFICATE_FILE).write_text(text + "\n", encoding="utf-8")
        write_description(folder, _description(stages[-1], certificate))
        card = _model_card(target.name, certificate)
        (folder / MODEL_CARD_FILE).write_text(card, encoding="utf-8")


def _description(last: Bundle, certificate: Certificate) -> BundleDescription:
    """Describe the cascade as the model that it stands for."""
    return last.description.model_copy(
        update={
            "kind": "cascade",
            # What was tested of the last stage's answers is not tested of the cascade's.
            "decision": {
                name: value
                for name, value in last.description.decision.items()
                if name not in {"label_sets", "abstention", "calibrated"}
            },
            "created": certificate.created,
            "longform_version": longform.__version__,
            "training": {
                "config": last.description.training.get("config", {}),
                "sketch": last.description.training.get("sketch"),
                "stages": [stage.name for stage in certificate.stages],
            },
        }
    )


def _model_card(name: str, certificate: Certificate) -> str:
    lines = [
        f"# {name}",
        "",
        f"A cascade of {len(certificate.stages)} classifiers of long documents, made by longform "
        f"{certificate.longform_version} on {certificate.created}. Certified: "
        f"{certificate.describe()}.",
        "",
        "| step | stage | segments read | stops at a margin of | documents that stop |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    for number, step in enumerate(certificate.steps):
        threshold = "never" if step.threshold is None else f"{step.threshold:.3g}"
        last = number == len(certificate.steps) - 1
        lines.append(
            f"| {number} | {certificate.stages[step.stage].name} | {100 * step.depth:.0f} % | "
            f"{'the rest' if last else threshold} | {100 * step.exited:.1f} % |"
        )
    return "\n".join([*lines, "", "The cards of the stages lie in `stages/`.", ""])


def _difference(one: object, other: object) -> str:
    if not isinstance(one, tuple) or not isinstance(other, tuple):
        return ""
    alone = sorted(set(one) ^ set(other))
    return f"labels of one alone: {', '.join(alone[:3])}" if alone else "another order"
