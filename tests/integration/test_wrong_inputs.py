"""Wrong inputs give one clear paragraph, the right exit status and never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tiny_runs import BAG_SETTINGS, make_documents, run, write_csv

from longform.types import Document


def refused(status: int, *arguments: object, words: tuple[str, ...] = ()):
    """Run, and hold what came against the manners of an expected error."""
    result = run(*arguments)
    assert result.status == status, result.err
    assert result.out == ""
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err, result.err
    return result


def paragraph(result) -> str:
    """The error is the last line, whatever was said before it."""
    last = result.err.rstrip("\n").splitlines()[-1]
    assert last.startswith("longform: ")
    return last


def complain(*arguments: object, words: tuple[str, ...]) -> None:
    """Refuse with status 2: rule, value found and way out in one paragraph."""
    line = paragraph(refused(2, *arguments, words=words))
    assert "Found: " in line
    for word in words:
        assert word in line


def train_with(data, output, *more: object) -> tuple[object, ...]:
    return ("train", "--data", data, "--output", output, "--json", *more)


@pytest.fixture
def output(tmp_path):
    """Where a bundle would go; nothing may be there, or beside it, after an error."""
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder / "model"
    # What a refused run began stays, and hinders no later one.
    assert {path.name for path in folder.iterdir()} <= {"model.training"}


# Data


def test_r18_a_file_that_is_not_there(output, tmp_path):
    missing = tmp_path / "数据 🙂.csv"
    complain(
        *train_with(missing, output),
        words=("The data file must exist.", str(missing), "Give the path of one file"),
    )


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict"])
def test_r07_a_column_that_is_not_there(verb, output, bundle, tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("全篇,种\n一二三,甲\n四五六,乙\n", encoding="utf-8")
    arguments = {
        "train": train_with(path, output),
        "evaluate": ("evaluate", bundle, "--data", path),
        "predict": ("predict", bundle, "--input", path, "--output", tmp_path / "answers.csv"),
    }[verb]
    complain(*arguments, words=("'text'", "全篇", "--text-column"))
    assert not (tmp_path / "answers.csv").exists()


def test_r07_a_label_column_that_is_not_there(output, tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,kind\n一二三,甲\n四五六,乙\n", encoding="utf-8")
    complain(*train_with(path, output), words=("'label'", "kind", "--label-column"))


def test_r12_a_file_of_no_bytes(output, tmp_path):
    path = tmp_path / "data.csv"
    path.touch()
    complain(*train_with(path, output), words=("must hold documents", "0 bytes", "at least one"))


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_r12_a_file_with_a_header_and_nothing_else(verb, output, bundle, tmp_path):
    path = write_csv(tmp_path / "data.csv", [])
    arguments = train_with(path, output)
    if verb == "evaluate":
        arguments = ("evaluate", bundle, "--data", path)
    refused(2, *arguments, words=("documents", "data.csv"))


def test_r13_one_class_only(output, tmp_path):
    documents = [Document(str(row), f"文书{row}", "民事") for row in range(5)]
    path = write_csv(tmp_path / "data.csv", documents)
    complain(
        *train_with(path, output),
        words=("at least two classes", "one class only: '民事'", "--label-column"),
    )


def test_r10_a_label_that_only_the_validation_file_has(output, corpus, tmp_path):
    documents = [*make_documents(4, 5), Document("x", "文书", "婚姻")]
    path = write_csv(tmp_path / "validation.csv", documents)
    complain(
        *train_with(corpus.train, output, "--validation", path),
        words=("must occur in the training data", "'婚姻' (1 document, first id x)", "Correct"),
    )


def test_r10_a_label_that_the_bundle_does_not_know(bundle, tmp_path):
    path = write_csv(tmp_path / "test.csv", [*make_documents(2, 5), Document("x", "文书", "婚姻")])
    complain("evaluate", bundle, "--data", path, words=("婚姻", "labels unknown to the model"))


def test_r12_a_single_document_cannot_be_split(output, tmp_path):
    documents = [Document("a", "文书一", "民事"), Document("b", "文书二", "刑事")]
    path = write_csv(tmp_path / "data.csv", documents)
    complain(*train_with(path, output), words=("validation", "--validation"))


def test_r19_a_file_of_another_kind(output, tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    complain(*train_with(path, output), words=("An Excel workbook must be whole", "csv"))


# Settings


def test_an_unknown_key_names_the_nearest_one(output, corpus):
    complain(
        *train_with(corpus.train, output, "--set", "learing_rate=0.1"),
        words=("unknown key 'learing_rate'", "did you mean 'learning_rate'?"),
    )


def test_all_faults_of_a_configuration_are_told_together(output, corpus, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("agregator: lstm\nepochs: 3\ndropout: 2\nfrozen: true\n", encoding="utf-8")
    complain(
        *("train", config, "--data", corpus.train, "--output", output),
        words=("'aggregator'", "'num_train_epochs'", "dropout", str(config)),
    )


def test_r102_a_configuration_runs_no_code(output, corpus, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("seed: !!python/object/apply:os.getpid []\n", encoding="utf-8")
    complain(
        *("train", config, "--data", corpus.train, "--output", output),
        words=("YAML", "line 1", "never executed"),
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "frozen"), ("key=value", "'frozen'")),
        (("--set", "seed=1", "frozen"), ("configuration file must exist", "frozen")),
        (("nowhere.yaml",), ("configuration file must exist", "nowhere.yaml")),
        (("a.yaml", "b.yaml"), ("one configuration file", "a.yaml, b.yaml")),
        (("--set", "frozen=true"), ("frozen needs a pretrained encoder",)),
        (("--set", "overlap=100"), ("overlap must be at most half of segment_length",)),
    ],
)
def test_settings_that_cannot_be(arguments, words, output, corpus):
    complain(*train_with(corpus.train, output, *arguments), words=words)


@pytest.mark.parametrize(("missing", "flag"), [("data", "--data"), ("output", "--output")])
def test_what_training_cannot_do_without(missing, flag, corpus, tmp_path):
    given = {"data": corpus.train, "output": tmp_path / "model"}
    del given[missing]
    arguments = [part for name, value in given.items() for part in (f"--{name}", value)]
    complain("train", *arguments, words=(f"no {flag}", f"Add {flag} PATH"))


# Encoders


def test_an_encoder_folder_without_weights(output, corpus, encoder, tmp_path):
    folder = tmp_path / "half-copied"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes((encoder / name).read_bytes())
    arguments = train_with(corpus.train, output, "--validation", corpus.validation)
    result = refused(
        2,
        *(*arguments, "--encoder", folder),
        words=("must hold config.json, weights", str(folder), "has no weights", "config.json"),
    )
    paragraph(result)


def test_an_encoder_that_is_nowhere(output, corpus):
    arguments = train_with(corpus.train, output, "--validation", corpus.validation)
    complain(*arguments, "--encoder", "./no/such/folder", words=("no/such/folder", "--encoder"))


def test_segments_longer_than_the_encoder_takes(output, corpus, encoder):
    arguments = train_with(corpus.train, output, "--validation", corpus.validation)
    complain(
        *arguments,
        *("--encoder", encoder, "--set", "segment_length=65"),
        words=("segment_length 65", "at most 64", "Set segment_length to 64 or less"),
    )


def test_after_a_wrong_setting_the_corrected_command_runs_without_another_flag(
    corpus, tmp_path, encoder, monkeypatch
):
    arguments = train_with(corpus.train, tmp_path / "model", "--validation", corpus.validation)
    refused(2, *arguments, "--encoder", encoder, "--set", "segment_length=65")
    monkeypatch.setattr("longform.training.fit.fit", _reached)
    with pytest.raises(ReachedError):
        run(*arguments, "--set", *BAG_SETTINGS)


class ReachedError(Exception):
    """Training would begin."""


def _reached(*_: object) -> None:
    raise ReachedError


# Output


def test_r40_an_output_that_is_a_file(corpus, tmp_path):
    path = tmp_path / "model"
    path.write_text("notes")
    complain(*train_with(corpus.train, path), words=("must be a folder", str(path), "Choose"))
    assert path.read_text() == "notes"


def test_r40_an_output_that_holds_other_files(corpus, tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    complain(
        *train_with(corpus.train, tmp_path, "--overwrite"),
        words=("empty or hold nothing but a bundle", "Choose another output folder"),
    )
    assert (tmp_path / "notes.txt").read_text() == "notes"


def test_r40_an_output_that_is_a_bundle_already(corpus, bundle):
    complain(*train_with(corpus.train, bundle), words=(str(bundle), "--overwrite"))


def test_r40_answers_go_into_a_file_of_a_known_kind(bundle, corpus, tmp_path):
    complain(
        *("predict", bundle, "--input", corpus.test, "--output", tmp_path / "answers.xlsx"),
        words=(".jsonl or .csv", "answers.xlsx"),
    )
    assert not list(tmp_path.iterdir())


def test_r40_answers_cannot_go_into_a_folder(bundle, corpus, tmp_path):
    folder = tmp_path / "answers.csv"
    folder.mkdir()
    complain(
        *("predict", bundle, "--input", corpus.test, "--output", folder),
        words=("must be written to", str(folder), "it is a folder", "Choose an --output"),
    )
    assert [path.name for path in tmp_path.iterdir()] == ["answers.csv"]


def test_r40_answers_cannot_go_below_a_file(bundle, corpus, tmp_path):
    (tmp_path / "file").touch()
    complain(
        *("predict", bundle, "--input", corpus.test, "--output", tmp_path / "file" / "a.csv"),
        words=("must be written to", "Choose an --output"),
    )


def test_r36_answers_of_another_job_are_not_continued(bundle, corpus, tmp_path):
    output = tmp_path / "answers.jsonl"
    partial = tmp_path / "answers.jsonl.partial"
    partial.write_text('{"id": "of whoever"}\n')
    complain(
        *("predict", bundle, "--input", corpus.test, "--output", output),
        words=("only by the same job", str(partial), "Remove that file"),
    )
    assert partial.read_text() == '{"id": "of whoever"}\n'


# Bundles and backends


@pytest.mark.parametrize("verb", ["evaluate", "predict", "inspect", "serve"])
def test_a_bundle_that_is_not_there(verb, corpus, tmp_path):
    more = {"evaluate": ("--data", corpus.test), "predict": ("text",)}.get(verb, ())
    result = run(verb, tmp_path / "nowhere", *more)
    assert result.status in {2, 3}
    assert str(tmp_path / "nowhere") in paragraph(result)


@pytest.mark.parametrize("verb", ["evaluate", "predict", "inspect", "serve"])
def test_r98_a_damaged_bundle_is_refused_by_the_gate(verb, own_bundle, corpus):
    weights = own_bundle / "onnx" / "head.onnx"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    more = {"evaluate": ("--data", corpus.test), "predict": ("text",)}.get(verb, ())
    line = paragraph(refused(3, verb, own_bundle, *more))
    assert "head.onnx" in line
    assert "Found: " in line
    assert "Copy the bundle from its source again" in line


@pytest.mark.parametrize("name", ["tensorflow", "", "onnx:int4", "openvino:fp64"])
def test_a_backend_that_does_not_exist(name, bundle):
    complain("predict", bundle, "text", "--backend", name, words=(f"'{name}'", "Choose one of"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--input", "documents.csv"), ("--input without --output",)),
        (("text", "--input", "a.csv", "--output", "b.csv"), ("--input and texts",)),
    ],
)
def test_flags_of_predict_that_do_not_fit(arguments, words, bundle):
    complain("predict", bundle, *arguments, words=words)


@pytest.mark.parametrize("text", ["", "  \n\t ", "\u200b\u200b"])
def test_r08_a_text_of_nothing(text, bundle):
    result = run("predict", bundle, text, "--json")
    assert "Traceback" not in result.err
    if result.status == 0:
        # Characters that are not seen may still be tokens.
        assert text.strip()
        assert result.json["predictions"][0]["coverage"]["tokens_used"] > 0
    else:
        assert result.status == 2
        assert "'0' is empty" in paragraph(result)


def test_a_text_file_for_inspect_that_is_not_utf8(bundle, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("民事判决书".encode("gb18030"))
    complain("inspect", bundle, "--text", path, words=("UTF-8", str(path), "convert"))


def test_threads_that_are_no_number(bundle, monkeypatch):
    monkeypatch.setenv("LONGFORM_THREADS", "many")
    complain("predict", bundle, "text", words=("LONGFORM_THREADS", "'many'"))


# Usage


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("trian",), "trian"),
        (("train", "--epochs", "3"), "--epochs"),
        (("predict",), "bundle"),
        (("evaluate", "bundle"), "--data"),
        (("predict", "bundle", "text", "--top-k", "0"), "--top-k"),
        (("serve", "bundle", "--port", "http"), "--port"),
    ],
)
def test_bad_usage_is_status_2(arguments, word):
    result = refused(2, *arguments)
    assert word in result.err
    assert "longform" in result.err


def test_the_traceback_is_shown_to_who_asks_for_it(tmp_path):
    from longform.errors import InputError

    with pytest.raises(InputError):
        run("train", "--data", tmp_path / "no.csv", "--output", tmp_path / "model", "--debug")


# How early


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--data", "nowhere.csv", "--output", "model"], "The data file must exist."),
        (["--data", "train.csv", "--output", "."], "The output must be a folder"),
        (["--data", "train.csv", "--output", "m", "--set", "sed=1"], "did you mean 'seed'"),
        (["--data", "one.csv", "--output", "m"], "at least two classes"),
        (["--data", "train.csv", "--validation", "new.csv", "--output", "m"], "Every label must"),
    ],
)
def test_bad_inputs_are_refused_before_torch_is_loaded(arguments, rule, tmp_path):
    write_csv(tmp_path / "train.csv", make_documents(6, 1))
    write_csv(tmp_path / "one.csv", make_documents(1, 1) * 3)
    write_csv(tmp_path / "new.csv", [Document("x", "文书", "婚姻")])
    script = (
        "import json, sys\n"
        "from longform.cli import main\n"
        f"status = main({['train', *arguments]!r})\n"
        "heavy = sorted({'torch', 'transformers', 'onnxruntime'} & set(sys.modules))\n"
        "print(json.dumps([status, heavy]))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert json.loads(result.stdout) == [2, []]
    assert rule in result.stderr
    assert "Traceback" not in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"train.csv", "one.csv", "new.csv"}
