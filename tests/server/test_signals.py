"""Signals and closed streams: whatever ends the service, its embedded PostgreSQL ends with it."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from sfs_server.auth.tokens import mint
from tests.support.credentials import SECRET
from tests.support.launcher import Process, environment

SECONDS = 60.0


def left(data: Path) -> list[int]:
    """The processes of the embedded PostgreSQL of ``data``."""
    home = str(data / "postgres")
    found = psutil.process_iter(["name", "cwd"])
    return [one.pid for one in found if one.info["name"] == "postgres" and one.info["cwd"] == home]


def get(port: int, path: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        return int(response.status)


def await_health(process: subprocess.Popen[Any], port: int) -> None:
    deadline = time.monotonic() + SECONDS
    answered = 0
    while answered != 200:
        assert process.poll() is None
        assert time.monotonic() < deadline
        with suppress(OSError):
            answered = get(port, "/healthz")
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_a_terminal_that_goes_and_a_quit_drain_as_sigterm_does(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = Process(tmp_path)
    try:
        for harmless in (signal.SIGUSR1, signal.SIGUSR2):
            process.signal(harmless)
        assert get(process.port, "/healthz") == 200
        assert left(tmp_path)
        process.signal(number)
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
    assert "stopping: transfers have 30 s to finish" in process.log
    assert left(tmp_path) == []


def test_what_nohup_ignores_is_ignored(tmp_path: Path, database_url: str) -> None:
    process = Process(tmp_path, "-database", database_url, by=["nohup"])
    try:
        process.signal(signal.SIGHUP)
        for _ in range(3):
            assert get(process.port, "/readyz") == 200
        process.signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_it_stops_in_good_order_without_standard_streams(
    closed: str, tmp_path: Path, database_url: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["-addr", f"127.0.0.1:{port}", "-data", str(tmp_path), "-database", database_url]
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "sfs_server", *flags]
    env = environment({"JWT_SECRET": SECRET, "SFS_DRAIN_GRACE": "0"})
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        await_health(process, port)
        request = urllib.request.Request(f"http://127.0.0.1:{port}/storage/default/x", method="PUT")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request, b"refused, and logged", timeout=10)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, said
    assert b"Traceback" not in said


def test_a_start_that_fails_ends_with_1_without_standard_streams(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sfs_server", "-addr", "nonsense"]
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command]
    assert subprocess.run(closed, env=environment(), timeout=SECONDS, check=False).returncode == 1


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


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, database_url: str) -> None:
    flags = ["-addr", "127.0.0.1:0", "-data", str(tmp_path), "-database", database_url]
    env = environment({"JWT_SECRET": SECRET, "SFS_DRAIN_GRACE": "0"})
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(
            [sys.executable, "-m", "sfs_server", *flags],
            env=env,
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
        )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        process.stdout.close()
        url = f"http://127.0.0.1:{port}/storage/default/x"
        bearer = {"Authorization": f"Bearer {mint(SECRET, user='alice', ttl=600)}"}
        for status in (201, 200):
            request = urllib.request.Request(url, b"1", bearer, method="PUT")
            with urllib.request.urlopen(request, timeout=10) as response:
                assert response.status == status
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def test_a_banner_that_nobody_reads_stops_nothing(tmp_path: Path, database_url: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["-addr", f"127.0.0.1:{port}", "-data", str(tmp_path), "-database", database_url]
    process = subprocess.Popen(
        [sys.executable, "-m", "sfs_server", *flags],
        env=environment({"JWT_SECRET": SECRET, "SFS_DRAIN_GRACE": "0"}),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    try:
        await_health(process, port)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, said
    assert "Traceback" not in said


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
    process = Process(data)  # makes the tables
    process.signal(signal.SIGINT)
    assert process.wait(SECONDS) == 0
    arguments = ["backup", "-data", str(data), "-to", str(tmp_path / "to")]
    backup = subprocess.Popen(
        [sys.executable, "-c", HANGING_BACKUP, *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert backup.stdout is not None
        assert backup.stdout.readline() == "copying\n"
        assert left(data)
        backup.send_signal(number)
        _, said = backup.communicate(timeout=SECONDS)
    finally:
        backup.kill()
        backup.wait()
    assert backup.returncode == 1
    assert said.splitlines()[-1] == f"sfs-server: stopped by {number.name}, not finished."
    assert "Traceback" not in said
    assert left(data) == []
    assert os.listdir(tmp_path / "to") == []
