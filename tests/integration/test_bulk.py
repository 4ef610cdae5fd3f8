"""Bulk scoring as users run it: two engines, one output; killed, broken and continued."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tiny_runs import make_documents, run, succeed

pytest.importorskip("pyarrow")
UNUSABLE = [
    {"id": "empty", "text": ""},
    {"id": "number", "text": 5},
    {"id": "absent"},
    {"id": "long", "text": "长" * 30_000},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three files: parquet, jsonl with rows that have no answer, packed csv."""
    import gzip

    import pyarrow as pa
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("documents")
    texts = [item.text for item in make_documents(90, seed=4)]
    rows = [{"id": f"d{number}", "text": text} for number, text in enumerate(texts)]
    parquet.write_table(pa.Table.from_pylist(rows[:40]), folder / "a.parquet")
    lines = [*rows[40:60], *UNUSABLE, *rows[60:70]]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines)
    (folder / "b.jsonl").write_text(text, encoding="utf-8")
    with gzip.open(folder / "c.csv.gz", "wt", encoding="utf-8", newline="") as file:
        file.write("id,text\n" + "".join(f'{row["id"]},"{row["text"]}"\n' for row in rows[70:]))
    return folder


def arguments(bundle: Path, folder: Path, output: Path, *more: object) -> list[object]:
    limits = ("--part-rows", 8, "--max-characters", 20_000)
    return ["predict", bundle, "--input", folder, "--output", output, *limits, *more]


def read(output: Path, kind: str = "answers") -> list[dict]:
    from pyarrow import dataset

    table = dataset.dataset(output / kind, partitioning=None).to_table()
    return table.sort_by([("file", "ascending"), ("row", "ascending")]).to_pylist()


@pytest.fixture(scope="module")
def scored(own_folders, bundle, folder, tmp_path_factory) -> tuple[Path, dict]:
    output = tmp_path_factory.mktemp("bulk") / "out"
    return output, succeed(*arguments(bundle, folder, output, "--workers", 2, "--json")).json


def test_each_row_has_an_answer_or_a_reason(scored, folder, bundle, tmp_path):
    output, told = scored
    assert (told["documents"], told["error_rows"], told["failed_files"]) == (90, 4, 0)
    answers, errors = read(output), read(output, "errors")
    assert [row["id"] for row in answers] == [f"d{number}" for number in range(90)]
    places = {(row["file"], row["row"]) for row in (*answers, *errors)}
    assert len(places) == 94
    assert [row["row"] for row in errors] == [21, 22, 23, 24]
    assert [row["id"] for row in errors] == ["empty", "number", "absent", "long"]
    assert "text is empty" in errors[0]["reason"]
    assert "--max-characters" in errors[3]["reason"]
    # The same answers as the command that writes one file.
    single = tmp_path / "one.jsonl"
    succeed("predict", bundle, "--input", folder / "a.parquet", "--output", single)
    lines = [json.loads(line) for line in single.read_text("utf-8").splitlines()]
    for line, row in zip(lines, answers, strict=False):
        assert line["id"] == row["id"]
        assert line["label"] == row["label"]
        assert row["score"] == pytest.approx(line["score"], abs=1e-6)
        assert row["tokens_total"] == line["coverage"]["tokens_total"]
    assert json.loads((output / "files.json").read_text("utf-8"))["1"].endswith("b.jsonl")


def test_one_worker_and_two_write_the_same_rows(scored, bundle, folder, tmp_path):
    succeed(*arguments(bundle, folder, tmp_path / "out", "--workers", 1))
    assert read(tmp_path / "out") == read(scored[0])


def test_finished_parts_are_not_scored_again(scored, bundle, folder):
    output = scored[0]
    parts = sorted(output.rglob("part-*.parquet"))
    times = {path: path.stat().st_mtime_ns for path in parts}
    gone = output / "answers" / "file=00001" / "part-00002.parquet"
    gone.unlink()
    again = succeed(*arguments(bundle, folder, output, "--resume", "--json")).json
    assert again["documents"] == 90
    assert again["scored_now"] == 4
    changed = {path for path in parts if path.stat().st_mtime_ns != times[path]}
    assert gone in changed
    assert {path.parent.name for path in changed} == {"file=00001"}
    assert succeed(*arguments(bundle, folder, output, "--json")).json["scored_now"] == 0


def test_another_job_is_refused_and_nothing_is_lost(scored, bundle, folder, tmp_path):
    output = scored[0]
    other = run("predict", bundle, "--input", folder, "--output", output, "--part-rows", 9)
    assert other.status == 2
    assert "differs in settings (rows" in other.err
    assert len(read(output)) == 90
    nothing = run(*arguments(bundle, folder, tmp_path / "new", "--resume"))
    assert nothing.status == 2
    assert "--resume goes on with a job" in nothing.err
    assert not (tmp_path / "new").exists()


def test_a_file_that_cannot_be_read_stands_in_the_errors_and_is_tried_again(
    bundle, folder, tmp_path
):
    documents, output = tmp_path / "in", tmp_path / "out"
    documents.mkdir()
    (documents / "a.jsonl").write_text('{"text": "经济补偿金"}\n', encoding="utf-8")
    # What a disk may do: the content changes, and neither size nor time tells.
    file, content = documents / "b.parquet", (folder / "a.parquet").read_bytes()
    file.write_bytes(content[:-4] + b"gone")
    when = file.stat().st_mtime_ns
    command = ("predict", bundle, "--input", documents, "--output", output, "--part-rows", 8)
    result = run(*command, "--json")
    assert result.status == 1
    assert result.json["failed_files"] == 1
    assert result.json["documents"] == 1
    (fault,) = read(output, "errors")
    assert (fault["file"], fault["row"]) == (1, 0)
    assert "must be whole" in fault["reason"]
    file.write_bytes(content)
    os.utime(file, ns=(when, when))
    again = succeed(*command, "--json").json
    assert (again["failed_files"], again["documents"], again["scored_now"]) == (0, 41, 40)
    assert not list(output.glob("errors/*/*"))
    # Lost once more, the file has nothing to be read for: all its parts are there.
    file.write_bytes(content[:-4] + b"gone")
    os.utime(file, ns=(when, when))
    assert succeed(*command, "--json").json["scored_now"] == 0
    next(output.glob("answers/file=00001/part-00002.parquet")).unlink()
    broken = run(*command, "--json")
    assert (broken.status, broken.json["documents"]) == (1, 33)


def test_killed_five_times_the_output_is_that_of_one_run(scored, bundle, folder, tmp_path):
    output, generator = tmp_path / "out", random.Random(3)
    command = [sys.executable, "-m", "longform"]
    command += map(str, arguments(bundle, folder, output, "--workers"))
    for workers in "21111":
        process = subprocess.Popen([*command, workers], stderr=subprocess.DEVNULL)
        _wait_for_parts(output, generator.randint(0, 2), process)
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not psutil.wait_procs(started, timeout=20)[1]
    before = {path: path.stat().st_mtime_ns for path in output.glob("answers/*/*.parquet")}
    assert succeed(*arguments(bundle, folder, output, "--json")).json["documents"] == 90
    assert read(output) == read(scored[0])
    assert read(output, "errors") == read(scored[0], "errors")
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    assert not (output / ".writing").exists()


def _wait_for_parts(output: Path, more: int, process: subprocess.Popen) -> None:
    """Wait until a run has written some parts, and a moment longer."""
    begun = len(list(output.glob("answers/*/*.parquet")))
    while len(list(output.glob("answers/*/*.parquet"))) < begun + more and process.poll() is None:
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("output", "flag"),
    [("a.jsonl", "--resume"), ("a.csv", "--engine=ray"), ("out", "--evidence")],
)
def test_flags_without_effect_are_refused(bundle, folder, tmp_path, output, flag):
    source = folder / "a.parquet"
    result = run("predict", bundle, "--input", source, "--output", tmp_path / output, flag)
    assert result.status == 2
    assert flag.partition("=")[0] in result.err
    assert not (tmp_path / output).exists()


def test_ray_writes_the_same_rows_and_a_wrong_address_is_told_at_once(
    scored, bundle, folder, tmp_path
):
    pytest.importorskip("ray")
    output = tmp_path / "out"
    begun = time.monotonic()
    refused = run(*arguments(bundle, folder, output, "--engine", "ray", "--address", "127.0.0.1:1"))
    assert time.monotonic() - begun < 30
    assert refused.status == 2
    assert "A Ray cluster must answer at --address. Found: 127.0.0.1:1" in refused.err
    assert not output.exists()
    command = [sys.executable, "-m", "longform"]
    command += map(str, arguments(bundle, folder, output, "--engine", "ray", "--json"))
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["documents"] == 90
    assert "Traceback" not in result.stderr
    assert read(output) == read(scored[0])
    assert read(output, "errors") == read(scored[0], "errors")
