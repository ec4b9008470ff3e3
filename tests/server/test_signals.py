"""Signals and closed streams: whatever ends the service, its embedded PostgreSQL ends with it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from manifests.laptop.weed import free_ports
from tests.support.client import call
from tests.support.credentials import bearer
from tests.support.launcher import SETTINGS, SFS_SERVER, Process, Program, environment, launched
from tests.support.waiting import eventually

SECONDS = 60.0


def left(data: Path) -> list[int]:
    """The processes of the embedded PostgreSQL of ``data``."""
    home = str(data / "postgres")
    found = psutil.process_iter(["name", "cwd"])
    return [one.pid for one in found if one.info["name"] == "postgres" and one.info["cwd"] == home]


async def healthy(port: int) -> bool:
    """Whether the service on ``port`` responds, and is healthy."""
    with suppress(OSError):
        return (await call(port, "GET", "/healthz")).status == 200
    return False


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
async def test_a_terminal_that_goes_and_a_quit_drain_as_sigterm_does(
    number: signal.Signals, tmp_path: Path
) -> None:
    async with launched(tmp_path) as process:
        for harmless in (signal.SIGUSR1, signal.SIGUSR2):
            process.signal(harmless)
        assert await healthy(process.port)
        assert left(tmp_path)
        process.signal(number)
        assert await process.ended(SECONDS) == 0
    assert "stopping: transfers have 30 s to finish" in process.log
    assert left(tmp_path) == []


async def test_what_nohup_ignores_is_ignored(tmp_path: Path, database_url: str) -> None:
    async with launched(tmp_path, "-database", database_url, by=["nohup"]) as process:
        process.signal(signal.SIGHUP)
        for _ in range(3):
            assert (await call(process.port, "GET", "/readyz")).status == 200
        process.signal(signal.SIGTERM)
        assert await process.ended(SECONDS) == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
async def test_it_stops_in_good_order_without_standard_streams(
    closed: str, tmp_path: Path, database_url: str
) -> None:
    (port,) = free_ports(1)
    flags = ("-addr", f"127.0.0.1:{port}", "-data", str(tmp_path), "-database", database_url)
    command = ("sh", "-c", f'exec "$@" {closed}', "sh", *SFS_SERVER, *flags)
    with Program(*command, env=environment(SETTINGS), stderr=subprocess.STDOUT) as process:
        await eventually(lambda: healthy(port), SECONDS)
        refused = await call(port, "PUT", "/storage/default/x", body=b"refused, and logged")
        assert refused.status == 401
        process.signal(signal.SIGTERM)
        assert await process.ended(SECONDS) == 0, process.output
    assert "Traceback" not in process.output


def test_a_start_that_fails_ends_with_1_without_standard_streams() -> None:
    command = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *SFS_SERVER, "-addr", "nonsense")
    with Program(*command) as process:
        assert process.wait(SECONDS) == 1


def test_a_terminal_that_is_closed_is_a_stop_in_good_order(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "sfs_server", "-addr", "127.0.0.1:0", "-data"]
        try:
            os.execve(sys.executable, [*command, str(tmp_path)], environment())
        finally:
            os._exit(70)
    try:
        said = b""
        while b"  tokens " not in said:
            said += os.read(terminal, 1000)  # raises OSError if it ends
    finally:
        os.close(terminal)  # sends SIGHUP, and what is written from now on fails
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert left(tmp_path) == []


async def test_a_log_that_cannot_be_written_stops_nothing(
    tmp_path: Path, database_url: str
) -> None:
    with open("/dev/full", "w") as full:
        async with launched(tmp_path, "-database", database_url, stderr=full) as process:
            for status in (201, 200):
                stored = await call(process.port, "PUT", "/storage/default/x", bearer(), b"1")
                assert stored.status == status
            process.signal(signal.SIGTERM)
            assert await process.ended(SECONDS) == 0


async def test_a_banner_that_nobody_reads_stops_nothing(tmp_path: Path, database_url: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    (port,) = free_ports(1)
    flags = ("-addr", f"127.0.0.1:{port}", "-data", str(tmp_path), "-database", database_url)
    try:
        process = Program(*SFS_SERVER, *flags, env=environment(SETTINGS), stdout=writer)
    finally:
        os.close(writer)
    with process:
        await eventually(lambda: healthy(port), SECONDS)
        process.signal(signal.SIGTERM)
        assert await process.ended(SECONDS) == 0, process.log
    assert "Traceback" not in process.log


HANGING_BACKUP = """
import asyncio
from sfs_server import __main__, backup
async def hang(*_):
    print("copying", flush=True)
    await asyncio.to_thread(__import__("time").sleep, 600)
backup._save = hang
__main__.main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_backup_that_is_stopped_ends_the_database_that_it_started(
    number: signal.Signals, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    (data / "files" / "default").mkdir(parents=True)
    with Process(data) as process:  # makes the tables
        process.signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
    arguments = ("backup", "-data", str(data), "-to", str(tmp_path / "to"))
    with Program(sys.executable, "-c", HANGING_BACKUP, *arguments) as copying:
        copying.wait_for("copying")
        assert left(data)
        copying.signal(number)
        assert copying.wait(SECONDS) == 1
    last = copying.log.splitlines()[-1]
    assert last == f"sfs-server: stopped by {number.name}, not finished."
    assert "Traceback" not in copying.log
    assert left(data) == []
    assert os.listdir(tmp_path / "to") == []
