from __future__ import annotations

import pytest

pytest.importorskip("torch")

from longform.errors import InputError
from longform.training.checkpoints import mark_complete
from longform.training.run_folder import claim_run_folder
from longform.types import Document

SETTINGS = {"learning_rate": 1e-3, "cleaning": ("html", "width")}
DOCUMENTS = (Document("1", "一份文书。", "甲"), Document("2", "另一份。", "乙"))


def interrupt(folder, *, complete=True):
    checkpoints = claim_run_folder(folder, SETTINGS, DOCUMENTS)
    checkpoint = checkpoints / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    if complete:
        mark_complete(checkpoint)
    return checkpoint


def test_r35_the_same_run_finds_its_checkpoints(tmp_path):
    checkpoint = interrupt(tmp_path / "run")
    assert claim_run_folder(tmp_path / "run", SETTINGS, DOCUMENTS) == checkpoint.parent
    assert checkpoint.is_dir()


@pytest.mark.parametrize(
    ("settings", "documents", "named"),
    [
        ({**SETTINGS, "learning_rate": 2e-3}, DOCUMENTS, "learning_rate"),
        ({"learning_rate": 1e-3}, DOCUMENTS, "cleaning"),
        ({**SETTINGS, "seed": 1}, DOCUMENTS, "seed"),
        (SETTINGS, DOCUMENTS[:1], "the documents"),
        (SETTINGS, (DOCUMENTS[0], Document("2", "另一份。", "甲")), "the documents"),
    ],
)
def test_r36_another_run_is_refused_and_the_difference_named(tmp_path, settings, documents, named):
    checkpoint = interrupt(tmp_path / "run")
    with pytest.raises(InputError, match=f"differs in {named}.*--restart"):
        claim_run_folder(tmp_path / "run", settings, documents)
    assert checkpoint.is_dir()
    claim_run_folder(tmp_path / "run", settings, documents, restart=True)
    assert not checkpoint.exists()


def test_r33_a_run_without_a_complete_checkpoint_is_no_obstacle(tmp_path):
    checkpoint = interrupt(tmp_path / "run", complete=False)
    claim_run_folder(tmp_path / "run", {}, DOCUMENTS)
    assert not checkpoint.exists()
