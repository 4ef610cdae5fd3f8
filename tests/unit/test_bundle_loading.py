"""A bundle is used whole and unaltered, or refused with the file named."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from bundle_samples import CONTENT_FILES, describe, edition_of, rewrite_manifest, save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from longform.bundle import (
    DESCRIPTION_FILE,
    ENCODER_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    BundleDescription,
    load_bundle,
    loading,
    write_description,
)
from longform.bundle.layout import read_description
from longform.errors import BundleError, InputError

ALL_FILES = (*CONTENT_FILES, DESCRIPTION_FILE, MANIFEST_FILE)


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def shared_bundle(tmp_path_factory):
    target = tmp_path_factory.mktemp("bundle") / "model"
    save(target)
    return target


def test_a_saved_bundle_loads_with_all_that_was_written(folder):
    bundle = load_bundle(folder)
    assert bundle.folder == folder
    assert bundle.description.labels == ("民事", "刑事", "行政")
    assert bundle.description.label2id == {"民事": 0, "刑事": 1, "行政": 2}
    assert bundle.description.knobs.segments.segment_length == 128
    assert bundle.description.decision == {"temperature": 1.5}
    assert bundle.files == {*CONTENT_FILES, DESCRIPTION_FILE}
    assert bundle.digest == json.loads((folder / MANIFEST_FILE).read_bytes())["digest"]
    assert edition_of(bundle) == 1


def test_a_copy_has_the_same_digest_and_another_edition_another(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert load_bundle(tmp_path / "copy").digest == load_bundle(folder).digest
    save(tmp_path / "other", edition=2)
    assert load_bundle(tmp_path / "other").digest != load_bundle(folder).digest


@pytest.mark.parametrize("name", ALL_FILES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_r98_one_changed_byte_is_refused(shared_bundle, name, place, flip):
    path = shared_bundle / name
    whole = path.read_bytes()
    altered = bytearray(whole)
    altered[int(place * len(whole))] ^= flip
    path.write_bytes(bytes(altered))
    try:
        with pytest.raises(BundleError, match=name) as refusal:
            load_bundle(shared_bundle)
    finally:
        path.write_bytes(whole)
    assert refusal.value.exit_status == 3
    assert refusal.value.fix


@pytest.mark.parametrize("extra", [b" ", b"\n", b"\0"])
@pytest.mark.parametrize("name", ALL_FILES)
def test_r98_an_appended_byte_is_refused(folder, name, extra):
    with (folder / name).open("ab") as stream:
        stream.write(extra)
    with pytest.raises(BundleError, match=name):
        load_bundle(folder)


@pytest.mark.parametrize("name", ALL_FILES)
def test_r98_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["notes.txt", "onnx/encoder.onnx.data", "新/文件", ".hidden"])
def test_r98_an_added_file_is_refused(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("more")
    with pytest.raises(BundleError, match="an added file .*" + name):
        load_bundle(folder)


def test_r98_a_truncated_manifest_is_refused_at_every_length(folder):
    whole = (folder / MANIFEST_FILE).read_bytes()
    for length in range(0, len(whole), 37):
        (folder / MANIFEST_FILE).write_bytes(whole[:length])
        with pytest.raises(BundleError, match=MANIFEST_FILE):
            load_bundle(folder)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"[]", b"9" * 5000, b"\xff", b'{"digest":"a"}']
)
def test_r98_a_manifest_that_is_no_manifest_is_refused(folder, content):
    (folder / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=MANIFEST_FILE):
        load_bundle(folder)


def test_r98_an_altered_file_with_a_matching_manifest_digest_unrepaired_is_refused(folder):
    content = json.loads((folder / MANIFEST_FILE).read_bytes())
    del content["files"][WEIGHTS_FILE]
    (folder / WEIGHTS_FILE).unlink()
    (folder / MANIFEST_FILE).write_text(json.dumps(content))
    with pytest.raises(BundleError, match="its own digest"):
        load_bundle(folder)


def test_a_newer_manifest_format_asks_for_a_newer_longform(folder):
    rewrite_manifest(folder, format_version=2, signature="of a later format")
    with pytest.raises(BundleError, match=r"needs a newer longform.*format 2"):
        load_bundle(folder)


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", None])
def test_a_format_version_that_is_none_is_refused(folder, version):
    rewrite_manifest(folder, format_version=version)
    with pytest.raises(BundleError, match="format_version"):
        load_bundle(folder)


def test_a_newer_description_asks_for_a_newer_longform(tmp_path):
    target = tmp_path / "model"
    newer = describe().model_copy(update={"format_version": 2})
    with pytest.raises(BundleError, match="needs a newer longform"):
        save(target, then=lambda folder: write_description(folder, newer))
    assert not target.exists()


def test_a_description_that_this_version_does_not_know_is_refused(folder):
    content = json.loads((folder / DESCRIPTION_FILE).read_bytes())
    content["longform_version"] = "9.9"
    content["knobs"]["segments"]["selection"] = "middle"
    (folder / DESCRIPTION_FILE).write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"selection.*written by longform 9\.9"):
        read_description(folder)


def test_nothing_is_parsed_before_it_is_verified(folder, monkeypatch):
    monkeypatch.setattr(loading, "read_description", lambda _: pytest.fail("parsed too early"))
    with (folder / DESCRIPTION_FILE).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(BundleError, match=DESCRIPTION_FILE):
        load_bundle(folder)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, ENCODER_FILE, MANIFEST_FILE])
def test_r99_a_symbolic_link_inside_is_refused(folder, tmp_path, name):
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=f"a symbolic link|{MANIFEST_FILE}"):
        load_bundle(folder)


def test_r99_a_linked_folder_inside_is_refused(folder, tmp_path):
    (folder / "onnx").rename(tmp_path / "elsewhere")
    (folder / "onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="a symbolic link"):
        load_bundle(folder)


@pytest.mark.parametrize("name", [MANIFEST_FILE, WEIGHTS_FILE])
def test_r99_a_pipe_does_not_hang_the_load(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(BundleError, match="special file"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/passwd",
        "onnx/../../secret",
        "./a",
        "a//b",
        "a\\b",
        "C:/a",
        "",
        MANIFEST_FILE,
    ],
)
def test_r99_a_manifest_path_outside_the_bundle_is_refused(folder, name):
    (folder.parent / "secret").write_text("not of the bundle")
    files = json.loads((folder / MANIFEST_FILE).read_bytes())["files"]
    rewrite_manifest(folder, files=files | {name: {"sha256": "0" * 64, "bytes": 17}})
    with pytest.raises(BundleError, match="plain relative paths"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "record", [{}, {"sha256": "0" * 64, "bytes": -1}, {"sha256": "G" * 64, "bytes": 1}, "text"]
)
def test_r98_a_manifest_record_that_is_none_is_refused(folder, record):
    rewrite_manifest(folder, files={"a": record})
    with pytest.raises(BundleError, match=MANIFEST_FILE):
        load_bundle(folder)


def test_what_is_no_bundle_at_all_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("missing", "file", "empty", "dangling", "loop", "file/below"):
        with pytest.raises(InputError, match="A bundle is a folder") as refusal:
            load_bundle(tmp_path / name)
        assert refusal.value.exit_status == 2


def test_a_bundle_is_found_from_inside_and_through_a_link(folder, tmp_path, monkeypatch):
    (tmp_path / "latest").symlink_to("model")
    assert load_bundle(tmp_path / "latest").folder == folder
    monkeypatch.chdir(folder)
    assert load_bundle(Path()).folder == folder


def test_a_file_that_was_not_exported_is_named_with_the_way_out(folder):
    bundle = load_bundle(folder)
    assert bundle.has(ENCODER_FILE)
    assert not bundle.has("openvino/encoder.xml")
    with pytest.raises(InputError, match=r"openvino/encoder\.xml.*longform export"):
        bundle.path("openvino/encoder.xml")


def test_a_bundle_replaced_while_it_is_read_is_read_again(folder, monkeypatch):
    verify = loading.verify_files
    calls = []

    def verify_during_a_save(location, manifest):
        calls.append(location)
        if len(calls) == 1:
            save(folder, edition=2)
        verify(location, manifest)

    monkeypatch.setattr(loading, "verify_files", verify_during_a_save)
    assert edition_of(load_bundle(folder)) == 2
    assert len(calls) == 2


def test_a_bundle_that_never_rests_is_refused(folder, monkeypatch):
    verify = loading.verify_files

    def verify_during_a_save(location, manifest):
        verify(location, manifest)
        save(folder, edition=2)

    monkeypatch.setattr(loading, "verify_files", verify_during_a_save)
    with pytest.raises(BundleError, match="was replaced"):
        load_bundle(folder)


@given(labels=st.lists(st.text(), min_size=1, max_size=30, unique=True))
def test_labels_keep_their_order(labels):
    numbered = {str(row): name for row, name in enumerate(labels)}
    shuffled = dict(sorted(numbered.items(), reverse=True))
    description = BundleDescription.model_validate(
        describe().model_dump(exclude={"label2id"}) | {"id2label": shuffled}
    )
    assert description.labels == tuple(labels)
    assert [description.label2id[name] for name in labels] == list(range(len(labels)))


@pytest.mark.parametrize(
    "changes",
    [
        {"id2label": {}},
        {"id2label": {"0": "a", "2": "b"}},
        {"id2label": {"0": "a", "1": "a"}},
        {"id2label": {"00": "a"}},
        {"id2label": {"0": "a", "1": ["b"]}},
        {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}},
        {"task": "token-classification"},
        {"problem_type": "regression"},
        {"surprise": 1},
        {"created": "yesterday"},
    ],
)
def test_a_description_that_contradicts_itself_is_refused(changes):
    values = describe().model_dump(exclude={"label2id"}) | changes
    with pytest.raises(ValidationError):
        BundleDescription.model_validate(values)


def test_a_metric_that_is_no_number_is_not_written_as_null(tmp_path):
    description = describe().model_copy(update={"metrics": {"macro_f1": float("nan")}})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_description(tmp_path, description)
