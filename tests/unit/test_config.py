from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from longform.config import (
    ALIASES,
    RunConfig,
    SegmentSettings,
    load_config,
    parse_assignments,
)
from longform.errors import ConfigError, InputError


@pytest.fixture
def write(tmp_path):
    def write_file(content: str | bytes):
        path = tmp_path / "配置.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def test_without_a_file_the_defaults_hold():
    assert load_config(None) == RunConfig()


@pytest.mark.parametrize("content", ["", "# only a comment\n", "---\n"])
def test_an_empty_file_gives_the_defaults(write, content):
    assert load_config(write(content)) == RunConfig()


def test_a_file_is_read_and_overrides_win(write):
    path = write("\ufeffencoder: bag\nsegment_length: 128\nlearning_rate: 3e-5\n")
    config = load_config(path, {"segment_length": 64, "data": None})
    assert (config.segment_length, config.learning_rate, config.data) == (64, 3e-5, None)


@pytest.mark.parametrize("written", ["3e-5", "'3e-5'", "0.00003", "3.0e-05"])
def test_a_number_that_yaml_takes_for_a_string_is_a_number(write, written):
    assert load_config(write(f"learning_rate: {written}")).learning_rate == pytest.approx(3e-5)


def test_a_nested_block_of_training_arguments_is_lifted(write):
    config = load_config(write("training_args:\n  num_train_epochs: 2\n  seed: 7\nseed: 7\n"))
    assert (config.num_train_epochs, config.seed) == (2, 7)
    assert load_config(write("training_args:\nseed: 3\n")).seed == 3


@pytest.mark.parametrize("alias", ALIASES)
def test_names_of_other_tools_are_understood(alias):
    value = {
        "encoder": "a folder",
        "validation_split": 0.2,
        "warmup_steps": 0.3,
        "vocabulary_size": 500,
        "layer_learning_rate_decay": 0.8,
    }
    config = load_config(None, {alias: value.get(ALIASES[alias], 60)})
    assert getattr(config, ALIASES[alias]) == value.get(ALIASES[alias], 60)


@pytest.mark.parametrize("task", ["text_classification", "text-classification", "classify"])
def test_the_task_may_be_named(task):
    assert load_config(None, {"task": task}) == RunConfig()


def test_another_task_is_refused(write):
    with pytest.raises(ConfigError, match="task: generation"):
        load_config(write("task: generation"))


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("learning_rte", "learning_rate"),
        ("segmentlength", "segment_length"),
        ("aggregater", "aggregator"),
        ("max_seq_len", "max_seq_length"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(write, key, near):
    with pytest.raises(ConfigError, match=f"unknown key '{key}', did you mean '{near}'"):
        load_config(write(f"{key}: 1"))


def test_all_faults_are_told_together(write):
    path = write("segment_length: 2\nlearning_rate: -1\nselection: middle\nzzzz: 1\nbf16: perhaps")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    for part in ("segment_length", "learning_rate", "selection", "unknown key 'zzzz'", "bf16"):
        assert part in str(caught.value)
    assert "found 2" in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    "content",
    [
        "max_seq_length: 128\nsegment_length: 256",
        "seed: 1\ntraining_args:\n  seed: 2",
        "patience: 2\ntraining_args:\n  early_stopping_patience: 3",
    ],
    ids=["alias", "nested", "nested alias"],
)
def test_a_setting_with_two_values_is_refused(write, content):
    with pytest.raises(ConfigError, match="must have one value"):
        load_config(write(content))


@pytest.mark.parametrize("content", ["training_args: [seed]", "training_args: 3"])
def test_training_arguments_that_are_no_block_are_refused(write, content):
    with pytest.raises(ConfigError, match="training_args must be a block"):
        load_config(write(content))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", ["learning_rate", "weight_decay", "num_train_epochs"])
def test_numbers_that_are_none_are_refused(key, value):
    with pytest.raises(ConfigError, match=key):
        load_config(None, {key: value})


@pytest.mark.parametrize("content", ["- a\n- b", "just text", "3"])
def test_a_file_that_is_no_mapping_is_refused(write, content):
    with pytest.raises(InputError, match="one mapping of keys to values"):
        load_config(write(content))


@pytest.mark.parametrize(
    "content",
    [b"a: [1", b"\xff\xfe", b"seed: 2024-13-45", b"a: b: c", b"\ttabs: 1", b"a: '\x00'"],
    ids=["bracket", "bytes", "date", "colon", "tab", "NUL"],
)
def test_a_file_that_is_no_yaml_is_refused_by_name(write, content):
    path = write(content)
    with pytest.raises(InputError, match="plain YAML in UTF-8") as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_r102_python_objects_are_never_made_and_the_line_is_named(write):
    path = write("seed: 1\ndata: !!python/object/apply:os.system ['exit 1']\n")
    with pytest.raises(InputError, match="line 2") as caught:
        load_config(path)
    assert "python" in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(InputError, match="no file at"):
            load_config(path)


@pytest.mark.parametrize("overlap", [0, 64])
def test_an_overlap_up_to_half_a_segment_is_taken(overlap):
    assert SegmentSettings(segment_length=128, overlap=overlap).overlap == overlap


def test_a_larger_overlap_is_refused():
    with pytest.raises(ConfigError, match=r"at most half of segment_length \(64\), found 65"):
        load_config(None, {"segment_length": 128, "overlap": 65})


def test_assignments_are_read_as_yaml():
    assert parse_assignments(
        ["frozen=true", "segment_length=128", "learning_rate=1e-3", "aggregator=lstm", "data=a=b"]
    ) == {
        "frozen": True,
        "segment_length": 128,
        "learning_rate": "1e-3",
        "aggregator": "lstm",
        "data": "a=b",
    }


@pytest.mark.parametrize("key", ["segment_prefix", "encoder", "model_name"])
@pytest.mark.parametrize("value", ["query: ", "123", "[CLS]", ""])
def test_prefix_and_encoder_are_taken_word_for_word(key, value):
    assert parse_assignments([f"{key}={value}"]) == {key: value}


@pytest.mark.parametrize("key", ["segment_prefix", "encoder"])
@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("'query: '", "query: "),
        ('"query: "', "query: "),
        ("'it''s'", "it's"),
        ("'a' or 'b'", "'a' or 'b'"),
        ("'", "'"),
    ],
)
def test_quotes_around_a_prefix_are_those_of_yaml(key, value, read):
    assert parse_assignments([f"{key}={value}"]) == {key: read}


@pytest.mark.parametrize("assignment", ["frozen", "=3", ""])
def test_an_assignment_needs_a_key_and_a_value(assignment):
    with pytest.raises(InputError, match="written key=value"):
        parse_assignments([assignment])


@pytest.mark.parametrize("assignment", ["seed=[1", "data=a: b: c", "seed=2024-13-45"])
def test_a_value_that_is_no_yaml_is_refused_with_its_key(assignment):
    with pytest.raises(InputError, match="as in YAML") as caught:
        parse_assignments([assignment])
    assert f"'{assignment}'" in str(caught.value)


def test_the_segment_settings_are_those_of_the_run():
    config = load_config(None, {"segment_length": 99, "overlap": 3, "segment_prefix": "query: "})
    settings = config.segment_settings()
    assert type(settings) is SegmentSettings
    for name in SegmentSettings.model_fields:
        assert getattr(settings, name) == getattr(config, name)


def test_a_configuration_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError):
        RunConfig().seed = 3
