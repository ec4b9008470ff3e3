"""Uploads that can be resumed, while whatever they need is killed, frozen, cut off or contested.

Nothing that was acknowledged is sent again, whoever was overtaken stores nothing, and afterwards
nothing is left: no session that nobody can end, and no needle of no file.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import psycopg2
import pytest

from tests.faults.replicas import copies, fsck, orphans
from tests.faults.resumable import (
    FAILURES,
    KILL_SECONDS,
    PROMISED_BYTES,
    PROMISED_SECONDS,
    VERSION,
    Fleet,
    Killer,
    Loss,
    Once,
    Upload,
    feed,
    patch_fields,
    random_bytes,
)
from tests.faults.rivals import Rival, explained
from tests.faults.transfers import SCALE, Ledger, Loop, download, times
from tests.gfs.cluster import Cluster, running
from tests.support.client import MIB, Connection, call, connect, encode
from tests.support.credentials import bearer
from tests.support.launcher import Process
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(1800)

PROCESSES = 4
SIZE = round(256 * MIB * min(1, max(SCALE, 0.5)))
"""Of an upload during which processes are killed."""

RATE = 32 * MIB
"""What its client sends in a second, at most: it takes four to eight of them."""

SMALL = 24 * MIB
"""Of one in which something happens once."""

CONTESTED = 6 * MIB
"""Of one that two clients send."""

TOGETHER = 4
COMPACT_UPLOADS = 8
"""After so many the space is freed of those that were deleted."""

COMPACT_SECONDS = 300.0

PUBLISHED = 2 * MIB
PUBLISH_SECONDS = 0.01
"""About so long a publish takes."""

FROZEN_SECONDS = 6.0
"""So long a process is frozen that holds the locks of a publish. Others wait for these; after two
minutes the database would release them."""

LATE_SECONDS = 0.5
"""So long after it has woken, what a process was doing would be seen."""

TAKE_OVER_SECONDS = 20.0
"""More than any request takes to end that was overtaken."""

MEND_SECONDS = 1.0
"""So long a server is down."""

SWEEP_SECONDS = 60.0
SETTLE_SECONDS = 2.5
"""The filer deletes within 1.2 s what it can."""

SETTLE_TIMES = 10
"""It tries again later what it could not."""

TABLES = ("uploads", "upload_parts", "upload_reservations")


@dataclass
class Scene:
    """What uploads go to. ``cluster`` is None where one process has an embedded store."""

    fleet: Fleet
    cluster: Cluster | None
    postgres: Postgres
    database: str

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        return self.postgres.execute(sql, self.database)


@pytest.fixture(params=["four processes on a cluster", "one process on an embedded store"])
def scene(
    request: pytest.FixtureRequest, postgres: Postgres, database_name: str, tmp_path: Path
) -> Iterator[Scene]:
    database = ("-database", postgres.url(database_name))
    if "embedded" in request.param:
        with Fleet(tmp_path, *database, count=1) as fleet:
            yield Scene(fleet, None, postgres, database_name)
        return
    with (
        running() as cluster,
        Fleet(tmp_path, "-master", cluster.masters, *database, count=PROCESSES) as fleet,
    ):
        yield Scene(fleet, cluster, postgres, database_name)


only_on_a_cluster = pytest.mark.parametrize("scene", ["four processes on a cluster"], indirect=True)


@asynccontextmanager
async def counted(
    scene: Scene, ledger: Ledger, name: str, *, down: bool = False
) -> AsyncIterator[Loop]:
    """An account; when the body has ended, nothing may be left of its uploads and files. ``down``:
    volume servers were down, so that copies of failed writes may be left there for volume.fsck."""
    store = "an embedded store" if scene.cluster is None else "a cluster"
    with ledger.loop(f"resumable uploads on {store}, {name}") as loop:
        yield loop
        await scene.fleet.whole()
        loop.notes.append(await end_all(scene, down=down))


async def end_all(scene: Scene, *, down: bool) -> str:
    """Have clients delete half of the sessions, and the service the others, which expire now. Hold
    that nothing is left of them. Returns an account."""
    found = scene.rows("SELECT id, published IS NULL FROM uploads ORDER BY id")
    for id_, _ in found[::2]:
        process = await scene.fleet.one(0)
        answer = await call(
            process.port,
            "DELETE",
            f"/storage/uploads/{id_}",
            {**bearer(), **VERSION},
        )
        assert answer.status == 204, answer
    scene.rows("UPDATE uploads SET expires_at = '2000-01-01', swept_at = NULL")
    scene.fleet.kill(await scene.fleet.one(0))
    await scene.fleet.whole()  # a process sweeps soon after its start
    count = " + ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)
    await eventually(lambda: scene.rows(f"SELECT {count}"), SWEEP_SECONDS, equals=[(0,)])
    unfinished = sum(bool(open_) for _, open_ in found)
    account = f"{len(found)} sessions left to end, {unfinished} of them unfinished; 0 rows"
    if scene.cluster is None:
        return account
    cluster = scene.cluster
    left = await orphans(cluster)
    for _ in range(SETTLE_TIMES):
        if left:
            await asyncio.sleep(SETTLE_SECONDS)
            left = await orphans(cluster)
    assert left == await asyncio.to_thread(fsck, cluster)
    assert down or not left
    return f"{account} and {len(left)} orphans of {len(copies(cluster))} copies of needles"


def new_upload(scene: Scene, number: int, size: int, rate: float = math.inf) -> Upload:
    return Upload(scene.fleet, f"/storage/default/{number}", random_bytes(size), number, rate)


async def test_uploads_outlive_their_process_which_is_killed_every_two_seconds(
    scene: Scene, ledger: Ledger
) -> None:
    killer = Killer(scene.fleet)
    losses: list[Loss] = []
    count = times(100 if scene.cluster is not None else 10)
    async with counted(scene, ledger, f"kill -9 every {KILL_SECONDS:.0f} s") as loop:

        async def upload(number: int) -> None:
            one = await asyncio.to_thread(new_upload, scene, number, SIZE, RATE)
            killer.uploads.append(one)
            with loop.transfer(SIZE):
                await one.run()

        async def abandon(number: int) -> None:
            one = await asyncio.to_thread(new_upload, scene, number, SIZE, RATE)
            part = asyncio.create_task(one.run(Once(SIZE // 8, lambda: part.cancel())))
            await asyncio.wait([part])
            assert part.cancelled()

        for first in range(0, count, TOGETHER):
            killing = asyncio.create_task(killer.run())
            async with asyncio.TaskGroup() as group:
                group.create_task(abandon(count + first))
                for number in range(first, min(first + TOGETHER, count)):
                    group.create_task(upload(number))
            await ended(killing)
            await scene.fleet.whole()
            for one in killer.uploads:
                assert await one.is_right(), one.path
                await one.delete()
                losses.extend(one.losses)
            killer.uploads.clear()
            if scene.cluster is not None and (first + TOGETHER) % COMPACT_UPLOADS == 0:
                await asyncio.to_thread(compact, scene.cluster)
        loop.strikes = killer.kills
        loop.notes.append(sent_again(losses))
        assert [loss for loss in losses if not loss.promised] == []


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task that runs until it is cancelled. Raises what it has failed with."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def compact(cluster: Cluster) -> None:
    """Free the space of needles that were deleted; blocks."""
    url = f"http://{cluster.master.http}/vol/vacuum?garbageThreshold=0.01"
    with urllib.request.urlopen(url, timeout=COMPACT_SECONDS) as response:
        response.read()


def sent_again(losses: list[Loss]) -> str:
    """An account of ``losses``."""
    if not losses:
        return "no PATCH was cut"
    sent = [loss.sent / MIB for loss in losses]
    arrived = [loss.arrived / MIB for loss in losses]
    small = sum(loss.arrived <= PROMISED_BYTES for loss in losses)
    new = sum(PROMISED_BYTES < loss.arrived <= loss.lately for loss in losses)
    return (
        f"{len(losses)} PATCHes cut, sent again {fmean(sent):.1f} MiB in the mean, {max(sent):.1f} "
        f"at most; of what had reached the process {fmean(arrived):.1f} in the mean, "
        f"{max(arrived):.1f} at most, {small} times at most {PROMISED_BYTES // MIB}, {new} times "
        f"more, but not more than in the last {PROMISED_SECONDS:.0f} s"
    )


HANGS = ("its process is frozen", "its network is cut", "its client falls silent")


@dataclass
class Hanging:
    """A PATCH to ``process`` that hangs; ``wake`` has it go on."""

    process: Process
    wake: Callable[[], None]
    status: asyncio.Task[int]
    """The status of its response in the end, 0 for none."""


@asynccontextmanager
async def hanging(scene: Scene, upload: Upload, at: int, how: str) -> AsyncIterator[Hanging]:
    """A PATCH that hangs after ``at`` bytes. When it goes on, it sends what is not of the file."""
    process = await scene.fleet.one(at)
    head = encode("PATCH", upload.location, patch_fields(0, len(upload.data)))
    async with AsyncExitStack() as stack:
        port = process.port
        if how == "its network is cut":
            proxy = await stack.enter_async_context(Proxy(("127.0.0.1", port)))
            proxy.stall_after(len(head) + at, upstream=True)
            port = proxy.port
        connection = await stack.enter_async_context(connect(port))
        connection.send_raw(head)
        await eventually(
            lambda: scene.rows(f"SELECT 1 FROM uploads WHERE id = '{upload.id}' AND epoch > 1")
        )
        await feed(connection, upload.data[:at])
        if how == "its process is frozen":
            scene.fleet.freeze(process)
            stack.callback(scene.fleet.thaw, process)
        other = b"" if how == "its client falls silent" else random_bytes(len(upload.data) - at)
        status = asyncio.create_task(response(connection, other))
        stack.callback(status.cancel)
        match how:
            case "its process is frozen":
                yield Hanging(process, lambda: scene.fleet.thaw(process), status)
            case "its network is cut":
                await eventually(lambda: proxy.strikes)
                yield Hanging(process, proxy.heal, status)
            case _:
                yield Hanging(process, lambda: None, status)


async def response(connection: Connection, rest: bytes) -> int:
    """Send the rest of a body; the status of the response, 0 if there is none."""
    with suppress(*FAILURES):
        await feed(connection, rest)
        return (await connection.head(seconds=None))[0]
    return 0


@only_on_a_cluster
@pytest.mark.parametrize("how", HANGS)
async def test_a_patch_that_hangs_is_taken_over_by_another_process(
    scene: Scene, ledger: Ledger, how: str
) -> None:
    """It is woken before the upload goes on, in the middle of the rest, or after the publish."""
    dice = random.Random(how)
    took: list[float] = []
    ended: list[float] = []
    statuses: Counter[int] = Counter()
    async with counted(scene, ledger, f"a PATCH hangs: {how}") as loop:
        for number in range(times(17)):
            upload = await asyncio.to_thread(new_upload, scene, number, SMALL)
            at = dice.randrange(1, SMALL)
            with loop.transfer(SMALL):
                await upload.create()
                async with hanging(scene, upload, at, how) as hung:
                    others = [one for one in scene.fleet.living if one is not hung.process]
                    started = time.monotonic()
                    offset = await upload.offset(dice.choice(others))
                    took.append(time.monotonic() - started)
                    assert offset <= at
                    if how == "its client falls silent":
                        async with asyncio.timeout(TAKE_OVER_SECONDS):
                            await hung.status
                        ended.append(time.monotonic() - started)
                    wake = Once([offset, (offset + SMALL) // 2, SMALL + 1][number % 3], hung.wake)
                    wake(offset)
                    if wake.done:
                        await asyncio.wait([hung.status], timeout=TAKE_OVER_SECONDS)
                    assert await upload.patch(dice.choice(others), offset, wake)
                    wake(SMALL + 1)
                    async with asyncio.timeout(TAKE_OVER_SECONDS):
                        statuses[await hung.status] += 1
            assert await upload.is_right(), number
            await upload.delete()
            loop.strikes += 1
        loop.notes.append(
            f"HEAD responds after {fmean(took):.2f} s in the mean, {max(took):.2f} at most"
        )
        if ended:
            loop.notes.append(
                f"the other ends after {fmean(ended):.2f} s in the mean, {max(ended):.2f} at most"
            )
        loop.notes.append(f"its statuses {dict(statuses)}")
        assert not [status for status in statuses if status and status < 400]


@only_on_a_cluster
async def test_a_process_that_is_frozen_at_the_publish_undoes_nothing_when_it_wakes(
    scene: Scene, ledger: Ledger
) -> None:
    """The upload goes on elsewhere, and its file is replaced or deleted before the process wakes.
    Where that holds the locks, it wakes earlier, but for once."""
    dice = random.Random(5)
    held = 0
    statuses: Counter[int] = Counter()
    async with counted(scene, ledger, "the process is frozen at the publish") as loop:
        for number in range(times(20)):
            upload = await asyncio.to_thread(new_upload, scene, number, PUBLISHED)
            await upload.create()
            process = await scene.fleet.one(number)
            async with connect(process.port) as connection:
                fields = patch_fields(0, len(upload.data))
                connection.send_raw(encode("PATCH", upload.location, fields))
                await feed(connection, upload.data)
                await asyncio.to_thread(wait_for_publish, scene, upload)
                await asyncio.sleep(dice.random() * PUBLISH_SECONDS)
                scene.fleet.freeze(process)
                try:
                    with loop.transfer(PUBLISHED):
                        going = asyncio.create_task(upload.go_on())
                        if scene.rows(publishing(upload)) == [(True,)]:
                            held += 1
                            if held > 1 or SCALE < 1:
                                await asyncio.sleep(FROZEN_SECONDS)
                                scene.fleet.thaw(process)
                        await going
                    assert await upload.is_right(), number
                    await (
                        upload.replace(random_bytes(PUBLISHED)) if number % 2 else upload.delete()
                    )
                finally:
                    scene.fleet.thaw(process)
                async with asyncio.timeout(TAKE_OVER_SECONDS):
                    statuses[await response(connection, b"")] += 1
            await asyncio.sleep(LATE_SECONDS)
            if number % 2:
                assert await upload.is_right(), number
                await upload.delete()
            else:
                assert (await call(process.port, "GET", upload.path, bearer())).status == 404
            loop.strikes += 1
        loop.notes.append(f"{held} with the locks, statuses {dict(statuses)}")


def publishing(upload: Upload) -> str:
    """Asks the database whether the upload is in the middle of its publish; nothing before it."""
    state = "CASE WHEN publishing OR published IS NOT NULL THEN published IS NULL END"
    return f"SELECT {state} FROM uploads WHERE id = '{upload.id}'"


def wait_for_publish(scene: Scene, upload: Upload) -> None:
    """Wait until a publish starts, as closely as can be; blocks."""
    with closing(psycopg2.connect(scene.postgres.url(scene.database))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            state = None
            while state is None:
                cursor.execute(publishing(upload))
                ((state,),) = cursor.fetchall()


async def struck_once(
    scene: Scene,
    ledger: Ledger,
    name: str,
    count: int,
    strike: Callable[[int, random.Random], Coroutine[None, None, None]],
    *,
    down: bool = False,
) -> None:
    """So many uploads, in each of which ``strike`` is done once: somewhere, and in every fourth
    when all has been sent."""
    dice = random.Random(name)
    uploads: list[Upload] = []
    statuses: Counter[int] = Counter()
    async with counted(scene, ledger, name, down=down) as loop:
        for number in range(count):
            upload = await asyncio.to_thread(new_upload, scene, number, SMALL)
            at = SMALL if number % 4 == 3 else dice.randrange(SMALL)
            async with asyncio.TaskGroup() as group:
                start = partial(group.create_task, strike(number, dice))
                with loop.transfer(SMALL):
                    await upload.run(Once(at, start))
            assert await upload.is_right(), number
            uploads.append(upload)
            statuses += upload.statuses
            loop.strikes += 1
        # A filer that is killed forgets what it has to delete.
        for upload in uploads:
            await upload.delete()
        loop.notes.append(f"statuses of PATCH {dict(statuses)}")


async def test_uploads_outlive_postgresql_which_is_restarted(scene: Scene, ledger: Ledger) -> None:
    async def strike(_: int, dice: random.Random) -> None:
        await asyncio.to_thread(scene.postgres.stop)
        try:
            await asyncio.sleep(dice.random() * 2 * MEND_SECONDS)
        finally:
            await asyncio.to_thread(scene.postgres.start)

    await struck_once(scene, ledger, "PostgreSQL restarted", times(20), strike)


@only_on_a_cluster
@pytest.mark.parametrize("kind", ["volume server", "filer"])
async def test_uploads_outlive_a_server_which_is_killed(
    scene: Scene, ledger: Ledger, kind: str
) -> None:
    cluster = scene.cluster
    assert cluster is not None
    servers = cluster.volumes if kind == "volume server" else cluster.filers

    async def strike(number: int, _: random.Random) -> None:
        servers[number % len(servers)].kill()
        await asyncio.sleep(MEND_SECONDS)
        await asyncio.to_thread(cluster.mend)

    down = kind == "volume server"
    count = times(20 if down else 10)
    await struck_once(scene, ledger, f"kill -9 a {kind}", count, strike, down=down)


async def test_of_two_clients_that_upload_the_same_no_byte_is_mixed(
    scene: Scene, ledger: Ledger
) -> None:
    statuses: Counter[int] = Counter()
    attempts = 0

    async def contest(number: int, loop: Loop) -> None:
        nonlocal attempts
        path = f"/storage/default/contested-{number}"
        upload = Upload(scene.fleet, path, bytes(CONTESTED), number)
        await upload.create()
        rivals = [
            Rival(scene.fleet, upload.location, CONTESTED, f"{number} {which}")
            for which in range(2)
        ]
        with loop.transfer(CONTESTED):
            await asyncio.gather(*(rival.run() for rival in rivals))
        made = [attempt for rival in rivals for attempt in rival.attempts]
        content = await download((await scene.fleet.one(number)).port, path)
        assert len(content) == CONTESTED
        for one in made:
            assert content.startswith(one.acknowledged, one.start), number
        assert explained(content, made), [(one.start, len(one.acknowledged)) for one in made]
        attempts += len(made)
        for rival in rivals:
            statuses.update(rival.statuses)
        await upload.delete()
        loop.strikes += 1

    async with counted(scene, ledger, "two clients of each") as loop:
        limit = asyncio.Semaphore(TOGETHER)

        async def limited(number: int) -> None:
            async with limit:
                await contest(number, loop)

        async with asyncio.TaskGroup() as group:
            for number in range(times(200)):
                group.create_task(limited(number))
        loop.notes.append(f"{attempts} attempts, statuses {dict(statuses)}")
