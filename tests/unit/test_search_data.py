from __future__ import annotations

import csv
from pathlib import Path

import pytest

from longform.config import RunConfig
from longform.data.preparation import prepare_search_data
from longform.errors import InputError
from longform.reporting import Reporter


def write(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label", "case"))
        writer.writerows(rows)
    return path


def rows(count: int, first: int = 0) -> list[tuple[str, str, str]]:
    return [
        (f"文书{number}号，" + chr(0x4E00 + number) * 30, "甲乙"[number % 2], f"案{number // 4}")
        for number in range(first, first + count)
    ]


def divide(path: Path, config: RunConfig, test: Path | None = None):
    other = {"validation": str(test) if test else None, "validation_split": 0.2}
    return prepare_search_data(path, config, config.model_copy(update=other), Reporter())


def test_three_parts_share_no_group(tmp_path):
    config = RunConfig(group_column="case", validation_split=0.25)
    prepared, test = divide(write(tmp_path / "all.csv", rows(80)), config)
    parts = (prepared.train, prepared.validation, test)
    assert sum(len(part) for part in parts) == 80
    assert len(test) == 16
    assert len(prepared.validation) == 16
    cases = [{document.fields["case"] for document in part} for part in parts]
    assert not cases[0] & cases[1]
    assert not cases[0] & cases[2]
    assert not cases[1] & cases[2]
    again, test_again = divide(tmp_path / "all.csv", config)
    assert test_again == test
    assert again.train == prepared.train


def test_a_test_file_leaves_all_documents_to_the_search(tmp_path):
    path = write(tmp_path / "all.csv", rows(40))
    test = write(tmp_path / "test.csv", rows(10, first=100))
    prepared, judging = divide(path, RunConfig(validation_split=0.25), test)
    assert len(judging) == 10
    assert len(prepared.train) + len(prepared.validation) == 40
    assert prepared.account["test_documents"] == 10


def test_a_label_that_only_judges_is_refused(tmp_path):
    path = write(tmp_path / "all.csv", rows(40))
    test = write(tmp_path / "test.csv", [("别的文书" * 20, "丙", "案99")])
    with pytest.raises(InputError, match="丙"):
        divide(path, RunConfig(), test)


def test_only_documents_to_learn_from_are_augmented(tmp_path):
    path = write(tmp_path / "all.csv", rows(40))
    prepared, test = divide(path, RunConfig(augmentation=("deletion",), augmentation_copies=2))
    originals = 40 - len(test) - len(prepared.validation)
    assert prepared.account["augmented_copies"] > 0
    assert len(prepared.train) == originals + prepared.account["augmented_copies"]
