"""Recounts of what the store has: they make a wrong number right, and never a right one wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from gfs.api import FileSystem
from gfs.errors import StoreBroken
from gfs.factory import open_filesystem
from gfs.types import FileInfo
from sfs_server.auth.access import Namespace
from sfs_server.auth.claims import Principal
from sfs_server.namespaces.recount import Recounter
from sfs_server.namespaces.rows import Namespaces
from sfs_server.namespaces.usage import Total
from tests.support.waiting import eventually

ADMIN = Principal("root", admin=True)
SETTLED = {"right": 0, "corrected": 0, "void": 0, "failed": 0}


class Walked:
    """A store whose lists stop after each file, where there is a ``step``; some are ``broken``."""

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs
        self.step: Callable[[FileInfo], Awaitable[object]] | None = None
        self.broken: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)

    async def list_files(self, directory: str) -> AsyncGenerator[list[FileInfo], None]:
        if directory in self.broken:
            raise StoreBroken("not a directory")
        async with aclosing(self._fs.list_files(directory)) as batches:
            async for batch in batches:
                for file in batch:
                    yield [file]
                    if self.step is not None:
                        await self.step(file)


@pytest.fixture
async def fs(tmp_path: Path) -> AsyncIterator[FileSystem]:
    fs = await open_filesystem(str(tmp_path / "files"))
    yield fs
    await fs.close()


@pytest.fixture
def walked(fs: FileSystem) -> Walked:
    return Walked(fs)


@pytest.fixture
async def made(ours: Namespaces, fs: FileSystem) -> Namespace:
    """A namespace that is due; ``default`` is not."""
    await fs.make_directory("n")
    made = await ours.create("n", hidden=False, owner="ann")
    await sql(ours, "UPDATE recounts SET counted_at = now() WHERE namespace = 'default'")
    return made


@pytest.fixture
async def recounter(ours: Namespaces, walked: Walked, monkeypatch: pytest.MonkeyPatch) -> Recounter:
    monkeypatch.setattr("sfs_server.namespaces.recount.ENTRIES_PER_SECOND", 10**6)
    return Recounter(ours._database, walked)  # type: ignore[arg-type]


async def sql(namespaces: Namespaces, text: str) -> list[tuple[Any, ...]]:
    return await namespaces._database.fetch(text)


async def make_due(namespaces: Namespaces) -> None:
    await sql(
        namespaces,
        "UPDATE recounts SET claimed_until = NULL, counted_at = 'epoch' WHERE namespace = 'n'",
    )


async def write(fs: FileSystem, path: str, size: int) -> int:
    """Publish a file; by how many bytes the store has more."""
    async with await fs.create("n", path) as writer:
        await writer.write(b"x" * size)
        await writer.flush()
        published = await writer.commit()
    return size - (published.replaced.size if published.replaced else 0)


async def put(namespaces: Namespaces, fs: FileSystem, made: Namespace, path: str, n: int) -> None:
    async with await fs.create("n", path) as writer:
        await writer.write(b"x" * n)
        await writer.flush()
        async with namespaces.guard(made, path) as guarded:
            replaced = (await writer.commit()).replaced
            guarded.add(replaced is None, n - (replaced.size if replaced else 0))


async def delete(namespaces: Namespaces, fs: FileSystem, made: Namespace, path: str) -> None:
    async with namespaces.guard(made, path) as guarded:
        guarded.add(-1, -(await fs.delete("n", path)).size)


async def test_what_others_wrote_is_found(
    ours: Namespaces, fs: FileSystem, made: Namespace, recounter: Recounter
) -> None:
    await write(fs, "a", 7)
    await write(fs, "b/c", 8)
    await recounter.recount_due()
    assert await ours.total(made) == Total(2, 15)
    await fs.delete("n", "a")
    await write(fs, "b/c", 3)
    await recounter.recount_due()  # it is not due again
    assert await ours.total(made) == Total(2, 15)
    await make_due(ours)
    await recounter.recount_due()
    assert await ours.total(made) == Total(1, 3)
    await make_due(ours)
    await recounter.recount_due()
    assert recounter.results == {**SETTLED, "corrected": 2, "right": 1}


@pytest.mark.parametrize("known", [True, False])
async def test_one_of_an_older_version_becomes_known(
    ours: Namespaces, fs: FileSystem, made: Namespace, recounter: Recounter, known: bool
) -> None:
    await sql(ours, "DELETE FROM recounts WHERE namespace = 'n'")
    await write(fs, "a", 7)
    if known:
        await put(ours, fs, made, "b", 1)
    assert await ours.total(made) is None
    await recounter.recount_due()
    assert await ours.total(made) == (Total(2, 8) if known else Total(1, 7))


@pytest.mark.parametrize("wrong", [0, 1000, -3])
async def test_what_is_published_meanwhile_is_counted_once(
    ours: Namespaces,
    theirs: Namespaces,
    fs: FileSystem,
    walked: Walked,
    made: Namespace,
    recounter: Recounter,
    wrong: int,
) -> None:
    """Before and behind the place where the walk is."""
    dice = random.Random(wrong)
    names = [f"{number:03}" for number in range(40)]
    there = set(names[::2])
    for name in there:
        await put(ours, fs, made, name, 10)
    await sql(ours, f"INSERT INTO namespace_usage VALUES ('n', {wrong}, 0, {wrong * 5}, 0)")
    walks = 0

    async def change(_: FileInfo) -> None:
        nonlocal walks
        walks += 1
        for name in dice.sample(names, 3):
            by = dice.choice([ours, theirs])
            if name in there and dice.random() < 0.5:
                await delete(by, fs, made, name)
                there.discard(name)
            else:
                await put(by, fs, made, name, dice.randrange(1, 100))
                there.add(name)
        ours._usage._written["n"] = 1000
        await ours._usage.merge()

    walked.step = change
    for _ in range(5):
        await make_due(ours)
        await recounter.recount_due()
    assert walks > 50
    truth = await fs.usage("n")
    total = await ours.total(made)
    assert total is not None
    if not wrong:
        assert total == Total(truth.files, truth.size)
        assert recounter.results == {**SETTLED, "right": 5}
    assert abs(total.files - truth.files) <= 120  # as many as were changed during a walk
    walked.step = None
    await make_due(ours)
    await recounter.recount_due()
    assert await ours.total(made) == Total(truth.files, truth.size)


async def test_a_right_number_stays_right_while_four_clients_publish(
    ours: Namespaces, theirs: Namespaces, fs: FileSystem, made: Namespace, recounter: Recounter
) -> None:
    async def publish(number: int) -> None:
        dice = random.Random(number)
        for _ in range(60):
            path = f"{number}-{dice.randrange(9)}/{dice.randrange(9)}"
            await put(dice.choice([ours, theirs]), fs, made, path, dice.randrange(99))
            if dice.random() < 0.4:
                await delete(ours, fs, made, path)

    publishing = asyncio.gather(*map(publish, range(4)))
    while not publishing.done():
        await make_due(ours)
        await recounter.recount_due()
    await publishing
    truth = await fs.usage("n")
    assert await ours.total(made) == Total(truth.files, truth.size)
    assert recounter.results["right"] > 3
    assert recounter.results["corrected"] == 0


async def test_a_change_that_is_not_written_yet_is_waited_for(
    ours: Namespaces, theirs: Namespaces, fs: FileSystem, made: Namespace, recounter: Recounter
) -> None:
    """The walk has seen the file; its row is not there yet."""
    async with theirs.guard(made, "a") as guarded:
        guarded.add(1, await write(fs, "a", 7))
        recounting = asyncio.create_task(recounter.recount_due())
        await asyncio.sleep(0.5)
        assert not recounting.done()
        async with theirs.guard(made, "b") as later:  # nobody waits for the recount
            later.add(1, await write(fs, "b", 1))
    await recounting
    assert await ours.total(made) == Total(2, 8)
    assert recounter.results == {**SETTLED, "right": 1}


async def test_a_change_that_takes_too_long_is_not_waited_for(
    ours: Namespaces,
    fs: FileSystem,
    made: Namespace,
    recounter: Recounter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sfs_server.namespaces.recount.SETTLE_SECONDS", 0.2)
    async with ours.guard(made, "a"):
        await recounter.recount_due()
    assert recounter.results == {**SETTLED, "void": 1}


async def moved(ours: Namespaces, theirs: Namespaces, made: Namespace) -> None:
    async with ours.guard(made, "a") as guarded:
        guarded.moved()


async def removed_uncounted(ours: Namespaces, theirs: Namespaces, made: Namespace) -> None:
    async with ours.guard(made, "a") as guarded:
        guarded.not_counted()


async def missed(ours: Namespaces, theirs: Namespaces, made: Namespace) -> None:
    ours._usage.missed("n")
    await ours._usage.merge()


async def deleted(ours: Namespaces, theirs: Namespaces, made: Namespace) -> None:
    async with theirs.deleting(made):
        pass


async def created_again(ours: Namespaces, theirs: Namespaces, made: Namespace) -> None:
    await deleted(ours, theirs, made)
    await theirs.create("n", hidden=False, owner="bob")


async def taken_over(ours: Namespaces, theirs: Namespaces, made: Namespace) -> None:
    await sql(ours, "UPDATE recounts SET claimed_until = '2999-01-01' WHERE namespace = 'n'")


@pytest.mark.parametrize(
    "what", [moved, removed_uncounted, missed, deleted, created_again, taken_over]
)
@pytest.mark.parametrize("renewed", [True, False])
async def test_a_result_is_not_used_after(
    ours: Namespaces,
    theirs: Namespaces,
    fs: FileSystem,
    walked: Walked,
    made: Namespace,
    recounter: Recounter,
    monkeypatch: pytest.MonkeyPatch,
    what: Callable[[Namespaces, Namespaces, Namespace], Awaitable[None]],
    renewed: bool,
) -> None:
    monkeypatch.setattr("sfs_server.namespaces.recount.RENEW_SECONDS", 0.0 if renewed else 15.0)
    await write(fs, "a", 7)
    await write(fs, "b", 7)

    async def change(file: FileInfo) -> None:
        if file.path == "a":
            await what(ours, theirs, made)

    walked.step = change
    await recounter.recount_due()
    assert recounter.results == {**SETTLED, "void": 1}
    assert await sql(ours, "SELECT * FROM namespace_usage") == []
    assert list(recounter._later) == ["n"]
    await recounter.recount_due()  # it is left alone for a while
    assert recounter.results == {**SETTLED, "void": 1}


async def test_one_process_counts_and_another_goes_on_after_it_was_killed(
    ours: Namespaces, fs: FileSystem, walked: Walked, made: Namespace, recounter: Recounter
) -> None:
    await sql(ours, "UPDATE recounts SET counted_at = NULL")  # another one is due too
    await write(fs, "a", 7)
    stands, goes = asyncio.Event(), asyncio.Event()

    async def wait(_: FileInfo) -> None:
        stands.set()
        await goes.wait()

    walked.step = wait
    recounting = asyncio.create_task(recounter.recount_due())
    await stands.wait()
    other = Recounter(ours._database, fs)
    await other.recount_due()
    assert other.results == SETTLED
    await sql(ours, "UPDATE recounts SET claimed_until = now() - interval '1 second'")
    await other.recount_due()
    assert other.results["corrected"] == 1
    goes.set()
    await recounting
    assert recounter.results["void"] == 1
    assert await ours.total(made) == Total(1, 7)


async def test_one_that_cannot_be_read_does_not_keep_the_others_from_being_counted(
    ours: Namespaces,
    fs: FileSystem,
    walked: Walked,
    made: Namespace,
    recounter: Recounter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await sql(ours, "UPDATE recounts SET counted_at = 'epoch'")
    walked.broken.add("default")
    await write(fs, "a", 7)
    await recounter.recount_due()
    assert await ours.total(made) == Total(1, 7)
    assert recounter.results == {**SETTLED, "failed": 1, "corrected": 1}
    assert "the files of the namespace default cannot be counted" in caplog.text
    recounter._later["default"] = 0.0
    walked.broken.clear()
    await sql(ours, "UPDATE recounts SET claimed_until = NULL")
    await recounter.recount_due()
    assert recounter.results == {**SETTLED, "failed": 1, "corrected": 1, "right": 1}


@pytest.mark.parametrize(
    ("counted", "migrated", "due"),
    [
        ("now() - interval '23 hours'", "'2001-01-01'", False),
        ("now() - interval '25 hours'", "'2001-01-01'", True),
        ("NULL", "'2001-01-01'", True),
        ("now() - interval '40 minutes'", "now() - interval '50 minutes'", False),
        ("now() - interval '40 minutes'", "now() - interval '70 minutes'", True),
        ("now() - interval '5 minutes'", "now() - interval '70 minutes'", False),
    ],
)
async def test_it_is_due(
    ours: Namespaces,
    made: Namespace,
    recounter: Recounter,
    counted: str,
    migrated: str,
    due: bool,
) -> None:
    """Daily, and after the hour in which processes of the version before may have published."""
    await sql(ours, f"UPDATE recounts SET counted_at = {counted} WHERE namespace = 'n'")
    await sql(ours, f"UPDATE sfs_migrations SET applied_at = {migrated} WHERE number = 2")
    await sql(ours, "UPDATE recounts SET counted_at = now() WHERE namespace = 'default'")
    await recounter.recount_due()
    assert recounter.results == {**SETTLED, "right": int(due)}


async def test_it_has_a_pace(
    ours: Namespaces,
    fs: FileSystem,
    made: Namespace,
    recounter: Recounter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sfs_server.namespaces.recount.ENTRIES_PER_SECOND", 100)
    paused: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        paused.append(seconds)
        await sleep(0)

    for number in range(20):
        await write(fs, f"{number}", 1)
    monkeypatch.setattr("sfs_server.namespaces.recount.asyncio.sleep", noted)
    await recounter.recount_due()
    assert sum(paused) >= 0.1  # half of the 0.2 s of 20 files, at least


async def test_it_goes_on_after_an_outage_and_ends_when_told(
    ours: Namespaces,
    fs: FileSystem,
    walked: Walked,
    made: Namespace,
    recounter: Recounter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("sfs_server.namespaces.recount.FIRST_SECONDS", 0.0)
    monkeypatch.setattr("sfs_server.namespaces.recount.LOOK_SECONDS", 0.1)
    await write(fs, "a", 7)
    await sql(ours, "ALTER TABLE recounts RENAME TO elsewhere")
    recounter.start()
    await eventually(lambda: "cannot recount namespaces now" in caplog.text)
    await sql(ours, "ALTER TABLE elsewhere RENAME TO recounts")
    await eventually(lambda: recounter.results["corrected"])
    assert await ours.total(made) == Total(1, 7)
    walked.step = lambda _: asyncio.sleep(60)
    await make_due(ours)
    await sql(ours, "UPDATE recounts SET claimed_until = NULL")
    await eventually(
        lambda: ours._database.fetch("SELECT 1 FROM recounts WHERE claimed_until > now()")
    )
    recounter.stop()
    async with asyncio.timeout(5):
        await recounter.close()
        await recounter.close()
    assert recounter._counting._task is None
