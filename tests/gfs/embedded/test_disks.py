"""The embedded engine on disks that are full, foreign, or not as they should be."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from gfs.embedded import copying, trash
from gfs.embedded.filesystem import EmbeddedFileSystem
from gfs.embedded.root import BYTES_PER_FILE
from gfs.errors import GfsError, StoreBroken, StoreFull, StoreUnavailable
from tests.gfs.suite import DIR, content, feed, load, store
from tests.support.mounts import fill, mounted, tmpfs
from tests.support.rooted import place, require_root
from tests.support.waiting import eventually

__all__ = ["place"]

MIB = 1 << 20
OTHER_USER = 65534


@asynccontextmanager
async def opened(root: Path, reserve: int = 0) -> AsyncIterator[EmbeddedFileSystem]:
    fs = await EmbeddedFileSystem.start(str(root), reserve)
    try:
        yield fs
    finally:
        await fs.close()


@pytest.fixture
async def fs(place: Path) -> AsyncIterator[EmbeddedFileSystem]:
    async with opened(place / "files") as fs:
        await fs.make_directory(DIR)
        await store(fs, "old", b"old")
        yield fs


async def swept(fs: EmbeddedFileSystem) -> None:
    await eventually(lambda: not fs._emptying, 60)


@contextmanager
def other_user() -> Iterator[None]:
    """Run as a user who is not root, so that modes of files matter."""
    require_root("only root becomes another user")
    os.setegid(OTHER_USER)
    os.seteuid(OTHER_USER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


# The reserve.


class Disk:
    """What ``fstatvfs`` says: ``free`` blocks of 1 MiB, ``files`` more files of 10,000."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int, files: int) -> None:
        self.free, self.files, self.counts = free, files, True
        monkeypatch.setattr(os, "fstatvfs", lambda _: self.found())

    def found(self) -> object:
        return SimpleNamespace(
            f_frsize=MIB,
            f_blocks=1000,
            f_bfree=self.free + 50,
            f_bavail=self.free,
            f_files=10_000 if self.counts else 0,
            f_favail=self.files if self.counts else 0,
        )


RESERVE = 100 * MIB
KEPT_FILES = RESERVE // BYTES_PER_FILE


async def test_a_reserve_is_left_to_the_service(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fs._tree, "_reserve", RESERVE)
    disk = Disk(monkeypatch, free=110, files=KEPT_FILES + 1)
    async with await fs.create(DIR, "fits", size=10 * MIB):
        pass
    with pytest.raises(StoreFull):
        await fs.create(DIR, "too large", size=10 * MIB + 1)
    await fs.check()
    disk.files = KEPT_FILES
    with pytest.raises(StoreFull, match="files"):
        await fs.create(DIR, "one more")
    disk.counts = False
    async with await fs.create(DIR, "not counted") as writer:
        await writer.write(bytes(2 * MIB))
        disk.free = 99
        with pytest.raises(StoreFull, match="reserve"):
            await writer.flush()
    with pytest.raises(StoreFull):
        await fs.check()
    await fs.make_directory("one-more")  # of a few bytes, by the service
    assert await load(fs, "old") == b"old"
    await fs.delete(DIR, "old")
    await fs.remove_directory(DIR)


async def test_an_upload_of_unknown_length_ends_at_the_reserve(place: Path) -> None:
    with tmpfs(place, "size=32m,nr_inodes=400"):
        root = place / "files"
        async with opened(root, 16 * MIB) as fs:
            await fs.make_directory(DIR)
            await store(fs, "old", b"old")
            writer = await fs.create(DIR, "endless")
            with pytest.raises(StoreFull):
                while True:
                    await writer.write(content(100_000))
            found = os.statvfs(root)
            assert 15 * MIB < found.f_bavail * found.f_frsize < 17 * MIB
            await writer.abort()
            with pytest.raises(StoreFull):
                await fs.create(DIR, "known", size=17 * MIB)
            with pytest.raises(StoreFull):
                for number in range(400):
                    await store(fs, f"empty {number}", b"")
            assert os.statvfs(root).f_favail == 16 * MIB // BYTES_PER_FILE
        async with opened(root, 16 * MIB) as fs:
            assert await load(fs, "old") == b"old"
            await fs.remove_directory(DIR)


async def test_a_start_on_a_disk_without_a_byte_serves_and_deletes(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tmpfs(place, "size=4m,nr_inodes=200"):
        root = place / "files"
        async with opened(root) as fs:
            await fs.make_directory(DIR)
            await store(fs, "old", b"old")
        fill(place)
        async with opened(root, MIB) as fs:
            assert await load(fs, "old") == b"old"
            with pytest.raises(StoreFull):
                await store(fs, "new", b"new")
            await fs.delete(DIR, "old")
            await fs.remove_directory(DIR)
    assert "uploads are refused: " in caplog.text


# What is not a directory, or is one elsewhere.


async def all_fail(fs: EmbeddedFileSystem, directory: str) -> list[str]:
    """What each method says of a directory that cannot be used."""

    async def listing() -> None:
        async with aclosing(fs.list_files(directory)) as batches:
            await anext(batches, [])

    said = []
    for attempt in (
        fs.stat(directory, "a"),
        fs.open(directory, "a"),
        listing(),
        fs.usage(directory),
        fs.create(directory, "a"),
        fs.delete(directory, "a"),
        fs.make_directory(directory),
        fs.remove_directory(directory),
    ):
        with pytest.raises(StoreBroken) as caught:
            await attempt
        said.append(str(caught.value))
    return said


@pytest.mark.parametrize("cached", [False, True])
async def test_a_link_is_never_an_empty_directory(
    fs: EmbeddedFileSystem, place: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    if not cached:
        monkeypatch.setattr("gfs.embedded.filesystem.open_cached", lambda *_: None)
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a").write_bytes(b"kept")
    (place / "files" / "linked").symlink_to(elsewhere)
    (place / "files" / "dangling").symlink_to(place / "nowhere")
    (place / "files" / "plain").write_bytes(b"")
    for name in ("linked", "dangling", "plain"):
        for said in await all_fail(fs, name):
            assert said.startswith(f"{name} is a symbolic link or a file")
    assert os.listdir(elsewhere) == ["a"]
    assert not os.path.lexists(place / "nowhere")
    assert await load(fs, "old") == b"old"
    for name in ("linked", "dangling", "plain"):
        (place / "files" / name).unlink()
        await fs.remove_directory(name)


async def test_a_start_names_what_cannot_be_used(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = place / "files"
    async with opened(root) as fs:
        await fs.make_directory("good")
    (root / "linked").symlink_to(place)
    (root / "not a namespace").mkdir()
    async with opened(root):
        pass
    assert [record.message.partition(" is ")[0] for record in caplog.records] == [
        "not usable: linked"
    ]


async def test_a_directory_of_another_user_fails_and_says_so(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.chmod(place, 0o777)
    with other_user():
        async with opened(place / "files") as fs:
            await fs.make_directory("theirs")
            await fs.make_directory(DIR)
            await store(fs, "old", b"old")
    os.chown(place / "files" / "theirs", 0, 0)
    with other_user():
        async with opened(place / "files") as fs:
            said = await all_fail_but_removal(fs, "theirs")
            assert len({one.partition(":")[0] for one in said}) == 1
            assert await load(fs, "old") == b"old"
    assert "not usable: theirs" in caplog.text
    for scratch in ("~trash", "~uploads", "~tmp"):
        os.chown(place / "files" / scratch, 0, 0)
        with other_user(), pytest.raises(StoreBroken, match=f"{scratch}: this user may not"):
            await EmbeddedFileSystem.start(str(place / "files"))


async def all_fail_but_removal(fs: EmbeddedFileSystem, directory: str) -> list[str]:
    said = []
    for attempt in (
        fs.stat(directory, "a"),
        fs.usage(directory),
        fs.create(directory, "a"),
        fs.delete(directory, "a"),
    ):
        with pytest.raises(StoreBroken) as caught:
            await attempt
        said.append(str(caught.value))
    return said


@pytest.mark.parametrize("bound", [False, True])
async def test_a_file_system_that_is_mounted_at_a_directory_is_read_and_not_published_to(
    fs: EmbeddedFileSystem, place: Path, bound: bool
) -> None:
    there = place / "files" / "mounted"
    there.mkdir()
    (place / "elsewhere").mkdir()
    how = ("--bind", str(place / "elsewhere")) if bound else ("-t", "tmpfs", "sfs-test")
    with mounted(there, *how):
        (there / "a").write_bytes(b"theirs")
        (there / "b").write_bytes(b"theirs")
        async with await fs.open("mounted", "a") as reader:
            assert reader.info.size == 6
        assert (await fs.usage("mounted")).files == 2
        with pytest.raises(StoreBroken, match="mounted is on another file system"):
            async with await fs.create("mounted", "new") as writer:
                assert bound, "it is found before the bytes come"
                await feed(writer, b"new")
                await writer.commit()
        await fs.delete("mounted", "b")
        with pytest.raises(StoreBroken, match="mounted is a mount point: unmount it first"):
            await fs.remove_directory("mounted")
        assert os.listdir(there) == ["a"]
        assert os.listdir(place / "files" / "~tmp") == []
    await fs.remove_directory("mounted")


@pytest.mark.parametrize("scratch", ["~tmp", "~uploads", "~trash"])
@pytest.mark.parametrize("kind", ["tmpfs", "bind", "link"])
async def test_a_start_refuses_scratch_directories_elsewhere(
    place: Path, scratch: str, kind: str
) -> None:
    root = place / "files"
    (root / scratch).mkdir(parents=True)
    (place / "elsewhere").mkdir()
    with ExitStack() as stack:
        if kind == "link":
            (root / scratch).rmdir()
            (root / scratch).symlink_to(place / "elsewhere")
        elif kind == "bind":
            stack.enter_context(mounted(root / scratch, "--bind", str(place / "elsewhere")))
        else:
            stack.enter_context(tmpfs(root / scratch))
        with pytest.raises(StoreBroken, match=f"{scratch}.* (on another|symbolic link)"):
            await EmbeddedFileSystem.start(str(root))


async def test_the_whole_store_may_be_behind_a_link(place: Path) -> None:
    (place / "disk").mkdir()
    (place / "files").symlink_to(place / "disk")
    async with opened(place / "files") as fs:
        await fs.make_directory(DIR)
        await store(fs, "a", b"1")
    assert (place / "disk" / DIR / "a").read_bytes() == b"1"


async def test_a_disk_that_became_read_only_is_seen_by_the_check(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel does after an error; a remount is refused while the lock is open."""
    await fs.check()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    for attempt in (fs.check(), fs.create(DIR, "a")):
        with pytest.raises(StoreBroken, match="mount the disk for writing"):
            await attempt
    assert await load(fs, "old") == b"old"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, StoreBroken) for code in (errno.EPERM, errno.EACCES, errno.EROFS, errno.EXDEV)),
        *((code, StoreUnavailable) for code in (errno.EIO, errno.EMFILE, errno.ESTALE)),
        *((code, StoreFull) for code in (errno.ENOSPC, errno.EDQUOT)),
    ],
)
async def test_errors_that_stay_are_broken_and_others_unavailable(
    fs: EmbeddedFileSystem, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[GfsError]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, "as ordered", "/secret/path")

    async with await fs.create(DIR, "f") as writer:
        monkeypatch.setattr(os, "rename", fail)
        with pytest.raises(kind) as caught:
            await writer.commit()
    assert "secret" not in str(caught.value)


# File systems that do not fit.


def refuses(*_: object, **__: object) -> None:
    raise PermissionError(errno.EPERM, "as exFAT does")


@pytest.mark.parametrize(
    ("call", "sabotaged", "reason"),
    [
        ("link", refuses, "hard links"),
        ("utime", refuses, "times in nanoseconds"),
        ("utime", lambda *_, **__: None, "times in nanoseconds"),
    ],
)
async def test_a_file_system_that_does_not_fit_is_refused_with_those_that_do(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    sabotaged: Callable[..., None],
    reason: str,
) -> None:
    monkeypatch.setattr(os, call, sabotaged)
    with pytest.raises(StoreBroken, match=f"no {reason}.*ext4, xfs, btrfs.*database.*another"):
        await EmbeddedFileSystem.start(str(place / "files"))
    assert os.listdir(place / "files" / "~tmp") == []


# Copies.


def test_what_cannot_be_read_does_not_keep_the_rest_from_being_copied(place: Path) -> None:
    os.chmod(place, 0o777)
    for path in ("files/a/good", "files/a/theirs", "files/theirs/file"):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(b"1")
    (place / "files" / "a" / "theirs").chmod(0o600)
    (place / "files" / "theirs").chmod(0o700)
    directories = ["a", "theirs", "absent"]
    with other_user():
        copied = copying.copy(str(place / "files"), str(place / "copy"), directories)
        left = list(copying.left_out(str(place / "files"), directories))
    assert (copied.files, copied.lost, copied.lost_names) == (1, 1, ["a/theirs"])
    assert left == [("theirs", "a directory that cannot be read (Permission denied)")]
    assert os.listdir(place / "copy" / "a") == ["good"]


def test_bytes_that_the_disk_does_not_give_leave_no_half_of_a_copy(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "files" / "a").mkdir(parents=True)
    for name in ("bad", "good"):
        (place / "files" / "a" / name).write_bytes(name.encode() * 1000)
    monkeypatch.setattr(copying, "COPY_BUFFER", 1000)
    read = os.read

    def failing(descriptor: int, count: int) -> bytes:
        if b"bad" in (piece := read(descriptor, count)) and os.lseek(descriptor, 0, 1) > 1000:
            raise OSError(errno.EIO, "a bad sector")
        return piece

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(os, "read", failing)
    copied = copying.copy(str(place / "files"), str(place / "copy"), ["a"])
    assert (copied.files, copied.lost_names) == (1, ["a/bad"])
    assert os.listdir(place / "copy" / "a") == ["good"]


# The trash.


def tree_of(depth: int, directory: Path) -> None:
    """Directories in directories, too deep for recursion and for one path."""
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(directory)
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
            Path("f").touch()
    finally:
        os.fchdir(before)
        os.close(before)


def plant_deep(there: Path) -> None:
    tree_of(3 * sys.getrecursionlimit(), there)


def plant_names(there: Path) -> None:
    for name in (b"\xff", b"a\nb", b" ", b"-rf", b"x" * 255):
        os.close(os.open(os.fsencode(there) + b"/" + name, os.O_CREAT))
    os.mkdir(os.fsencode(there) + b"/\xfe")
    os.close(os.open(os.fsencode(there) + b"/\xfe/\xff", os.O_CREAT))


def plant_special(there: Path) -> None:
    os.mkfifo(there / "fifo")
    (there / "link").symlink_to(there.parents[1])
    (there / "dangling").symlink_to("nowhere")


def plant_read_only(there: Path) -> None:
    (there / "sub" / "sub").mkdir(parents=True)
    (there / "sub" / "sub" / "f").touch()
    for one in (there / "sub" / "sub", there / "sub"):
        one.chmod(0o500)


def plant_many(there: Path) -> None:
    for number in range(20_000):
        os.close(os.open(there / str(number), os.O_CREAT))


@pytest.mark.parametrize(
    "plant", [plant_deep, plant_names, plant_special, plant_read_only, plant_many]
)
async def test_whatever_is_in_a_removed_directory_is_freed(
    place: Path, plant: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    os.chmod(place, 0o777)
    with other_user() if os.geteuid() == 0 else ExitStack():
        async with opened(place / "files") as fs:
            await fs.make_directory("a")
            plant(place / "files" / "a")
            await fs.remove_directory("a")
            await swept(fs)
    assert os.listdir(place / "files" / "~trash") == []
    assert not caplog.records


async def test_what_cannot_be_freed_keeps_nothing_else(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.chmod(place, 0o777)
    root = place / "files"
    with other_user():
        async with opened(root) as fs:
            for name in ("a", "b", "c", "theirs"):
                await fs.make_directory(name)
                for number in range(3):
                    (root / name / str(number)).mkdir()
                    (root / name / str(number) / "f").touch()
    with os.scandir(root / "theirs") as entries:
        first = next(entries).name  # what comes behind it is to be freed
    os.chown(root / "theirs" / first, 0, 0)
    with other_user():
        async with opened(root) as fs:
            await swept(fs)
            for name in ("theirs", "a", "b", "c"):
                await fs.remove_directory(name)
                await swept(fs)
            for record in caplog.records:
                assert record.levelno == logging.WARNING
                assert "Permission denied: remove it as root" in record.message
                assert str(place) not in record.message
            assert len(caplog.records) == 4  # one a removal
            [left] = (root / "~trash").iterdir()
            assert [one.name for one in left.iterdir()] == [first]
            caplog.clear()
    os.chown(left / first, OTHER_USER, OTHER_USER)
    with other_user():
        async with opened(root) as fs:
            await swept(fs)
    assert os.listdir(root / "~trash") == []
    assert not caplog.records


async def test_a_mount_point_in_a_removed_directory_is_not_entered(
    fs: EmbeddedFileSystem, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    removed = place / "files" / "~trash" / "removed"
    (removed / "mounted").mkdir(parents=True)
    (removed / "f").touch()
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "kept").touch()
    with mounted(removed / "mounted", "--bind", str(place / "elsewhere")):
        await fs.remove_directory(DIR)
        await swept(fs)
        assert "removed/mounted (Device or resource busy: unmount it)" in caplog.text
        assert os.listdir(removed.parent) == ["removed"]
        assert os.listdir(removed) == ["mounted"]
    await fs.remove_directory(DIR)
    await swept(fs)
    assert os.listdir(removed.parent) == []
    assert os.listdir(place / "elsewhere") == ["kept"]


async def test_an_immutable_file_is_named_with_what_can_be_done(
    fs: EmbeddedFileSystem, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = place / "files" / "~trash" / "removed" / "f"
    file.parent.mkdir()
    file.touch()
    if shutil.which("chattr") is None or subprocess.run(["chattr", "+i", file]).returncode:
        pytest.skip("nothing is made immutable here")
    try:
        await fs.remove_directory(DIR)
        await swept(fs)
        assert "chattr -i" in caplog.text
        assert os.listdir(file.parent.parent) == ["removed"]
    finally:
        subprocess.run(["chattr", "-i", file], check=True)


async def test_emptying_ends_with_the_store(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = await EmbeddedFileSystem.start(str(place / "files"))
    for number in range(3):
        (place / "files" / "~trash" / str(number)).touch()
    unlink = os.unlink

    def closing(*args: object, **options: object) -> None:
        fs._closing = True
        unlink(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "unlink", closing)
    await fs.remove_directory("whatever")
    await swept(fs)
    monkeypatch.undo()
    assert len(os.listdir(place / "files" / "~trash")) == 2
    await fs.close()


def test_only_the_first_of_what_is_left_are_named() -> None:
    left = trash.Leftovers()
    for number in range(trash.MAX_NAMED + 2):
        left.add(f"{number}\udcff", OSError("without a number"))
    assert str(left).endswith(r"2\udcff (OSError: remove it by hand) and 2 more")
