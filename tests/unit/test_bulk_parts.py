"""Parts, sources and storage of bulk jobs, and what is left of an interrupted one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longform.config import DataSettings
from longform.data.readers import DocumentReader
from longform.errors import InputError
from longform.scale.answers import PartAccount
from longform.scale.job import Progress
from longform.scale.parts import FILE_FAULT, PartLimits, PartName, failed_file, read_parts
from longform.scale.ray_engine import RayPlan, plan_cluster
from longform.scale.sources import InputFile, list_inputs, local_copy
from longform.scale.storage import Storage

pytest.importorskip("pyarrow")
NODE = pytest.importorskip("longform.scale.cluster").ClusterNode
ANY = DataSettings()


def write_lines(path: Path, rows) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def cut(path: Path, limits: PartLimits, finished=frozenset()):
    return list(read_parts(DocumentReader(path, ANY, labelled=False), 0, limits, finished))


TEXTS = st.lists(st.one_of(st.text("长文ab", max_size=12), st.integers(), st.none()), min_size=1)


@given(texts=TEXTS, rows=st.integers(1, 5), characters=st.integers(1, 40), data=st.data())
def test_every_row_is_in_one_part_whatever_is_finished(
    tmp_path_factory, texts, rows, characters, data
):
    path = write_lines(tmp_path_factory.mktemp("p") / "a.jsonl", [{"text": text} for text in texts])
    limits = PartLimits(rows, characters, longest=8)
    parts = cut(path, limits)
    found = [row for part in parts for row in (*part.rows, *(item.row for item in part.errors))]
    assert sorted(found) == list(range(1, len(texts) + 1))
    assert [part.name.number for part in parts] == list(range(len(parts)))
    assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert all(len(part) <= rows for part in parts)
    done = data.draw(st.frozensets(st.integers(0, len(parts) - 1)))
    again = cut(path, limits, done)
    kept = [part for part in parts if part.name.number not in done]
    assert [(part.name, part.rows, part.errors) for part in again] == [
        (part.name, part.rows, part.errors) for part in kept
    ]
    assert [part.documents for part in again] == [part.documents for part in kept]


def test_rows_without_an_answer_have_a_reason(tmp_path):
    rows = [
        {"text": ""},
        {"text": 5},
        {"id": "x"},
        {"id": "long", "text": "长" * 30},
        {"text": "好"},
    ]
    (part,) = cut(write_lines(tmp_path / "a.jsonl", rows), PartLimits(longest=20))
    assert part.rows == [5]
    assert [error.row for error in part.errors] == [1, 2, 3, 4]
    assert part.errors[3].id == "long"
    assert "at most 20 characters (--max-characters). Found: 30" in part.errors[3].reason


def test_a_file_that_breaks_off_keeps_what_was_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "一"}\n{"text": "二"}\n{"text": \n', encoding="utf-8")
    *_, part = cut(path, PartLimits(rows=1))
    assert part.is_last
    assert part.errors[-1].row == FILE_FAULT


def test_a_file_that_cannot_be_opened_leaves_its_finished_parts_alone():
    assert failed_file(3, "gone").name == PartName(3, 0)
    part = failed_file(3, "gone", frozenset({0, 1, 3}))
    assert part.name == PartName(3, 2)
    assert [error.row for error in part.errors] == [FILE_FAULT]


def test_an_empty_file_has_one_empty_part(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,text\n", encoding="utf-8")
    (part,) = cut(path, PartLimits())
    assert (len(part), part.is_last) == (0, True)


def account(file: int, number: int, *, is_last=False, failed=False) -> PartAccount:
    return PartAccount(file, number, 3, 1, 0, 9, is_last, failed)


def test_only_files_with_all_parts_are_finished():
    files = [InputFile(number, f"{number}.csv", 1) for number in range(4)]
    progress = Progress(
        [
            account(0, 0),
            account(0, 1, is_last=True),
            account(1, 1, is_last=True),
            account(2, 0),
            account(2, 1, is_last=True, failed=True),
        ]
    )
    left = {item.file.number: item.finished for item in progress.work(files)}
    assert left == {1: {1}, 2: {0}, 3: set()}
    assert progress.totals()["documents"] == 15
    assert not progress.add(account(0, 0))


def test_inputs_are_found_by_file_folder_pattern_and_url(tmp_path):
    for name in ("b.jsonl", "a.csv.gz", "deep/c.parquet", "notes.md", "d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    names = [Path(item.path).name for item in list_inputs(str(tmp_path))]
    assert names == ["a.csv.gz", "b.jsonl", "c.parquet"]
    assert [item.number for item in list_inputs(str(tmp_path))] == [0, 1, 2]
    assert len(list_inputs(str(tmp_path / "*.jsonl"))) == 1
    assert len(list_inputs(str(tmp_path / "**" / "*.parquet"))) == 1
    url = tmp_path.as_uri()
    assert [Path(item.path).name for item in list_inputs(url)] == names
    (only,) = list_inputs(f"{url}/dee?/*.parquet")
    assert only.path == f"{url}/deep/c.parquet"
    with local_copy(only) as copy:
        assert copy.read_text("utf-8") == "x"
        assert copy.name == "c.parquet" or copy.suffix == ".parquet"
    assert not copy.exists()
    with pytest.raises(InputError, match="none for"):
        list_inputs(str(tmp_path / "*.tsv"))


def test_a_table_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    import pyarrow as pa
    from pyarrow import parquet

    storage = Storage(str(tmp_path / "out"))
    table = pa.table({"row": [1, 2]})
    name = PartName(3, 4).path("answers")
    storage.write_table(table, name)
    assert storage.names("answers") == ["answers/file=00003/part-00004.parquet"]
    assert storage.metadata(name)[1] == 2

    def break_off(_, stream, **__):
        stream.write(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "write_table", break_off)
    other = PartName(3, 5).path("answers")
    with pytest.raises(InputError, match="No space left"):
        storage.write_table(table, other)
    assert not (tmp_path / "out" / other).exists()


def test_a_cluster_is_filled_by_what_each_worker_needs():
    nodes = [NODE(4, 0, 0), NODE(3, 0, 0)]
    assert plan_cluster(nodes, 2, None, "cpu") == RayPlan(workers=3, threads=2, readers=1)
    assert plan_cluster(nodes, 2, 9, "cpu").workers == 9
    gpus = [NODE(8, 2, 0), NODE(8, 2, 0)]
    assert plan_cluster(gpus, 8, None, "gpu") == RayPlan(4, 1, 4, gpus=1, segmenters=12)
    npus = [NODE(8, 0, 8)]
    assert plan_cluster(npus, 8, None, "npu") == RayPlan(8, 1, 8, npus=1, segmenters=1)


def test_without_an_address_no_cluster_of_others_is_joined(monkeypatch):
    ray = pytest.importorskip("ray")
    from longform.errors import LongformError
    from longform.scale.cluster import connected

    asked = []

    def start(**options):
        asked.append(options["address"])
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", start)
    with pytest.raises(LongformError, match="timed out"), connected(None, "a test"):
        pass
    assert asked == ["local"]
