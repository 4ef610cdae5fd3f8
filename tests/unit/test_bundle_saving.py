"""At every moment of a save the path holds the whole old bundle or the whole new one."""

from __future__ import annotations

import errno
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import pytest
from bundle_samples import edition_of, fill, loaded_edition, save

from longform.bundle import MANIFEST_FILE, FileSystem, check_output, load_bundle, writing_bundle
from longform.errors import BundleError, InputError, LongformError

STEPS = (
    "make_folder",
    "write",
    "sync",
    "rename",
    "exchange",
    "link",
    "remove_file",
    "remove_folder",
)


class WatchedFileSystem(FileSystem):
    """Calls `before(step, paths)` before every single step."""

    def before(self, step, paths):
        raise NotImplementedError


def _watch(step):
    def method(self, *paths):
        self.before(step, paths)
        return getattr(super(WatchedFileSystem, self), step)(*paths)

    return method


for _step in STEPS:
    setattr(WatchedFileSystem, _step, _watch(_step))


class Recording(WatchedFileSystem):
    def __init__(self):
        self.steps = []

    def before(self, step, paths):
        self.steps.append((step, paths))


class Unsynced(FileSystem):
    """Waits for no disk: the death of a process, unlike a power cut, loses nothing written."""

    def sync(self, path):
        pass


class NoExchange(Unsynced):
    """A file system such as FAT or many network ones."""

    def exchange(self, first, second):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(second))


class StoppingAt(WatchedFileSystem, Unsynced):
    """Does `action` instead of the step with number `at`."""

    def __init__(self, at, action, can_exchange):
        self.left = at
        self.action = action
        self.can_exchange = can_exchange

    def before(self, step, paths):
        self.left -= 1
        if self.left == -1:
            self.action()
        if step == "exchange" and not self.can_exchange:
            NoExchange().exchange(*paths)


def die():
    os._exit(9)


def in_child(function):
    """Run `function` in a child process and return its exit status: 0 unless it was stopped."""
    child = os.fork()
    if child == 0:
        try:
            function()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def refusal_in(function):
    """Return the message of the expected error that `function` raises, or an empty one."""
    try:
        function()
    except LongformError as error:
        return str(error)
    return ""


def litter(target):
    """Return what lies beside `target` and is not what it links to."""
    linked = target.readlink().name if target.is_symlink() else None
    return [path.name for path in target.parent.iterdir() if path.name not in {target.name, linked}]


def plain_folder(target):
    save(target, edition=1, steps=Unsynced())


def version_link(target):
    save(target, edition=1, steps=NoExchange())


def nothing(target):
    target.parent.mkdir(exist_ok=True)


def empty_folder(target):
    target.mkdir(parents=True)


SITUATIONS = [
    pytest.param(before, can_exchange, id=f"{before.__name__}-exchange_{can_exchange}")
    for before in (nothing, empty_folder, plain_folder, version_link)
    for can_exchange in (True, False)
]


@pytest.mark.parametrize(("before", "can_exchange"), SITUATIONS)
def test_a_kill_at_every_step_leaves_one_whole_bundle(tmp_path, before, can_exchange):
    had_bundle = before in (plain_folder, version_link)
    seen = set()
    for at in range(300):
        target = tmp_path / str(at) / "model"
        target.parent.mkdir()
        before(target)
        stopping = StoppingAt(at, die, can_exchange)
        status = in_child(lambda: save(target, edition=2, steps=stopping))  # noqa: B023
        if status == 0:
            break
        assert status == 9
        try:
            seen.add(loaded_edition(target))
        except InputError:
            assert not had_bundle, f"no bundle after a kill before step {at}"
            seen.add(None)
        steps = Unsynced() if can_exchange else NoExchange()
        save(target, edition=3, steps=steps)
        assert loaded_edition(target) == 3
        assert litter(target) == []
    else:
        pytest.fail("the save never ended")
    assert at > 20
    assert seen == {1 if had_bundle else None, 2}


@pytest.mark.parametrize(("before", "can_exchange"), SITUATIONS)
def test_r34_a_fault_at_every_step_is_told_and_leaves_no_litter(tmp_path, before, can_exchange):
    def refuse():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    had_bundle = before in (plain_folder, version_link)
    for at in range(300):
        target = tmp_path / str(at) / "model"
        target.parent.mkdir()
        before(target)
        stopping = StoppingAt(at, refuse, can_exchange)
        refusal = refusal_in(lambda: save(target, edition=2, steps=stopping))  # noqa: B023
        if stopping.left >= 0:
            break
        # A fault in the removal of the old bundle costs no save; any other one is told.
        assert "No space left" in refusal or loaded_edition(target) == 2
        if target.exists() and any(target.iterdir()):
            assert loaded_edition(target) in {1, 2}
        else:
            assert not had_bundle
        if refusal and had_bundle and loaded_edition(target) == 1:
            assert litter(target) == []
        save(target, edition=3, steps=Unsynced())
        assert loaded_edition(target) == 3
        assert litter(target) == []
    assert at > 20


@pytest.mark.parametrize("steps", [Unsynced(), NoExchange()], ids=["exchange", "link"])
def test_a_kill_at_a_random_moment_leaves_one_whole_bundle(tmp_path, steps):
    target = tmp_path / "model"
    save(target, edition=0, steps=steps)

    def save_for_ever():
        edition = loaded_edition(target)
        while True:
            edition += 1
            save(target, edition=edition, steps=steps)

    moments = random.Random(7)
    last = 0
    for _ in range(25):
        child = os.fork()
        if child == 0:
            try:
                save_for_ever()
            finally:
                os._exit(1)
        # The moment of the kill is the subject here, so this test must let time pass.
        time.sleep(moments.uniform(0, 0.06))
        os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == -signal.SIGKILL
        edition = loaded_edition(target)
        assert edition >= last
        last = edition
    assert last > 0
    save(target, edition=last + 1, steps=steps)
    assert loaded_edition(target) == last + 1
    assert litter(target) == []


def test_a_kill_while_the_content_is_written_leaves_the_old_bundle(tmp_path):
    target = tmp_path / "model"
    save(target, edition=1)

    def die_half_way():
        with writing_bundle(target, overwrite=True) as folder:
            fill(folder, 2)
            die()

    assert in_child(die_half_way) == 9
    assert loaded_edition(target) == 1
    assert len(litter(target)) == 1
    save(target, edition=3)
    assert loaded_edition(target) == 3
    assert litter(target) == []


def test_everything_is_on_the_disk_before_the_swap_and_the_name_after_it(tmp_path):
    for target, swap in ((tmp_path / "new", "rename"), (tmp_path / "old", "exchange")):
        if swap == "exchange":
            save(target)
        steps = Recording()
        save(target, steps=steps)
        names = [step for step, _ in steps.steps]
        at = len(names) - 1 - names[::-1].index(swap)
        staging = steps.steps[at][1][0]
        synced = {paths[0] for step, paths in steps.steps[:at] if step == "sync"}
        content = {staging / path.relative_to(target) for path in target.rglob("*")}
        assert synced == content | {staging}
        written = [paths[0].name for step, paths in steps.steps[:at] if step == "write"]
        assert written[-1] == MANIFEST_FILE
        assert steps.steps[at + 1] == ("sync", (target.parent,))


def test_a_failing_block_leaves_the_target_as_it_was(tmp_path):
    target = tmp_path / "model"
    save(target, edition=1)
    before = target.stat().st_ino
    for error in (RuntimeError("diverged"), KeyboardInterrupt(), FileNotFoundError("a.csv")):

        def fail(_, error=error):
            raise error

        with pytest.raises(type(error)) as raised:
            save(target, edition=2, then=fail)
        assert raised.value is error
        assert target.stat().st_ino == before
        assert loaded_edition(target) == 1
        assert litter(target) == []


def test_r34_a_full_disk_in_the_block_is_told_as_such(tmp_path):
    with (
        pytest.raises(LongformError, match=r"No space left.*Free some space") as raised,
        writing_bundle(tmp_path / "model"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert raised.value.exit_status == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_bundle_is_never_swapped_in(tmp_path):
    target = tmp_path / "model"
    save(target, edition=1)
    with pytest.raises(BundleError), writing_bundle(target, overwrite=True) as folder:
        (folder / "weights").write_text("no description")
    with pytest.raises(BundleError, match="symbolic link"):
        save(target, then=lambda folder: (folder / "linked").symlink_to("/etc/hostname"))
    assert loaded_edition(target) == 1
    assert litter(target) == []


def test_a_save_in_progress_is_left_alone_by_another(tmp_path):
    target = tmp_path / "model"
    with writing_bundle(target, overwrite=True) as folder:
        fill(folder, 1)
        assert in_child(lambda: save(target, edition=2)) == 0
        assert loaded_edition(target) == 2
        assert folder.exists()
    assert loaded_edition(target) == 1
    assert litter(target) == []


def test_a_bundle_that_appears_meanwhile_is_not_overwritten_unasked(tmp_path):
    target = tmp_path / "model"
    with pytest.raises(InputError, match="--overwrite"):
        save(target, overwrite=False, then=lambda _: save(target, edition=2))
    assert loaded_edition(target) == 2
    assert litter(target) == []


def test_without_exchange_a_link_to_a_version_stands_in_and_is_turned(tmp_path):
    target = tmp_path / "model"
    for edition in (1, 2, 3):
        save(target, edition=edition, steps=NoExchange())
        assert target.is_symlink()
        assert not target.readlink().is_absolute()
        bundle = load_bundle(target)
        assert edition_of(bundle) == edition
        assert bundle.folder == target.resolve()
        assert litter(target) == []
    (tmp_path / "moved").mkdir()
    for path in list(tmp_path.iterdir()):
        if path.name != "moved":
            path.rename(tmp_path / "moved" / path.name)
    assert loaded_edition(tmp_path / "moved" / "model") == 3


def test_a_file_system_without_exchange_and_links_is_refused_before_the_work(tmp_path):
    class Fat(NoExchange):
        def link(self, path, destination):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with pytest.raises(InputError, match="exchange two folders"):
        check_output(tmp_path / "model", file_system=Fat())
    with (
        pytest.raises(InputError, match="exchange two folders"),
        writing_bundle(tmp_path / "model", file_system=Fat()),
    ):
        pytest.fail("the work began")
    assert list(tmp_path.iterdir()) == []


def test_a_link_of_the_user_stays_and_the_folder_behind_it_is_replaced(tmp_path):
    save(tmp_path / "store" / "v1", edition=1)
    (tmp_path / "latest").symlink_to("store/v1")
    save(tmp_path / "latest", edition=2)
    assert (tmp_path / "latest").readlink() == Path("store/v1")
    assert loaded_edition(tmp_path / "store" / "v1") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "store"]


def test_r18_a_path_of_chinese_characters_and_spaces_is_created(tmp_path):
    target = tmp_path / "模型 输出" / "合同 分类 ①"
    check_output(target)
    assert not target.parent.exists()
    save(target, edition=1, overwrite=False)
    save(target, edition=2)
    assert loaded_edition(target) == 2
    assert litter(target) == []


def test_a_relative_path_and_one_with_a_slash_are_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("model", "./model/", "a/../model", "model/."):
        Path("a").mkdir(exist_ok=True)
        save(Path(name), edition=4)
        assert loaded_edition(tmp_path / "model") == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "model"]


def test_an_old_bundle_that_cannot_be_removed_costs_no_save(tmp_path, caplog):
    class Sticky(FileSystem):
        def remove_folder(self, path):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))

    target = tmp_path / "model"
    save(target, edition=1)
    save(target, edition=2, steps=Sticky())
    assert loaded_edition(target) == 2
    assert "cannot be removed" in caplog.text
    save(target, edition=3)
    assert litter(target) == []


def refusal_of(target, overwrite=False):
    """Return the one message with which both the check and the save refuse a path."""
    with pytest.raises(InputError) as checked:
        check_output(target, overwrite)
    with pytest.raises(InputError) as saved, writing_bundle(target, overwrite=overwrite):
        pytest.fail("the work began")
    assert checked.value.rule == saved.value.rule
    assert checked.value.fix == saved.value.fix
    assert checked.value.fix
    for error in (checked.value, saved.value):
        assert "staging" not in str(error)
    return str(checked.value)


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert "must be a folder" in refusal_of(tmp_path / "file", overwrite=True)
    assert "Not a directory" in refusal_of(tmp_path / "file" / "model")
    assert (tmp_path / "file").read_text() == "mine"
    # A link to nothing names a folder that can be created.
    save(tmp_path / "dangling", edition=5)
    assert loaded_edition(tmp_path / "nowhere") == 5


def test_a_folder_of_other_files_is_never_deleted(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("years")
    assert "never deletes" in refusal_of(tmp_path / "work", overwrite=True)
    save(tmp_path / "model")
    (tmp_path / "model" / "onnx" / "notes.txt").write_text("mine")
    assert "notes.txt" in refusal_of(tmp_path / "model", overwrite=True)
    (tmp_path / "model" / "onnx" / "notes.txt").unlink()
    (tmp_path / "model" / MANIFEST_FILE).write_text("{}")
    assert "never deletes" in refusal_of(tmp_path / "model", overwrite=True)


def test_a_bundle_is_overwritten_only_when_asked_even_a_damaged_one(tmp_path):
    target = tmp_path / "model"
    save(target)
    assert "--overwrite" in refusal_of(target)
    (target / "model.safetensors").write_bytes(b"damaged")
    (target / "config.json").unlink()
    assert "--overwrite" in refusal_of(target)
    check_output(target, overwrite=True)
    save(target, edition=2)
    assert loaded_edition(target) == 2


def test_the_current_folder_and_those_above_it_are_refused(tmp_path, monkeypatch):
    (tmp_path / "model" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "model" / "inner")
    for name in (".", "..", "../../model", "/", "/proc"):
        assert "replaced as a whole" in refusal_of(Path(name), overwrite=True)


def test_a_parent_that_cannot_be_written_is_refused():
    def refused_as_an_ordinary_user():
        if os.getuid() == 0:
            os.setuid(65534)
        assert "Permission denied" in refusal_of(parent / "model")
        assert "Permission denied" in refusal_of(parent / "new" / "model")

    with tempfile.TemporaryDirectory() as name:
        parent = Path(name)
        parent.chmod(0o555)
        assert in_child(refused_as_an_ordinary_user) == 0
        assert list(parent.iterdir()) == []


def test_a_check_leaves_no_trace(tmp_path):
    check_output(tmp_path / "a" / "b" / "model")
    save(tmp_path / "model")
    check_output(tmp_path / "model", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_interrupted_swap_is_undone_when_the_next_save_begins(tmp_path):
    target = tmp_path / "model"
    save(target, edition=1)
    target.rename(tmp_path / ".model.previous")
    assert loaded_edition(target) == 1
    assert "--overwrite" in refusal_of(target)
    editions = []
    # Others than load_bundle look for the target too, and a training may last for hours.
    save(target, edition=2, then=lambda _: editions.append((target / "README.md").read_text()))
    assert editions == ["README.md of edition 1\n"]
    assert loaded_edition(target) == 2
    assert litter(target) == []
