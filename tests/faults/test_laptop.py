"""``make cluster``: it serves, it outlives what its users kill, and it leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from manifests import gateway
from tests.faults.transfers import MB, Ledger, download, metric, sha256, some_bytes, upload
from tests.gfs.cluster import require
from tests.support.client import call
from tests.support.credentials import bearer
from tests.support.examples import run_examples
from tests.support.launcher import START_SECONDS, Program

require()

TOUR = Path(__file__).parents[2] / "docs" / "tour.md"
TOUR_SECONDS = 100.0
SERVERS = 3 + 3 + 2 + 4 + (gateway.find() is not None)

pytestmark = pytest.mark.timeout(180)


class Launcher(Program):
    """A running ``python -m manifests.laptop``."""

    def __init__(self, data: Path) -> None:
        self.data = data
        super().__init__(
            *(sys.executable, "-m", "manifests.laptop", "-data", str(data)),
            stderr=subprocess.STDOUT,
        )
        try:
            self.wait_for("Stop:")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        """Stop it in good order: what it has started would outlive a kill."""
        self.signal(signal.SIGTERM)
        self.wait(START_SECONDS)

    @property
    def secret(self) -> str:
        return (self.data / "jwt-secret").read_text()

    def found(self, pattern: str) -> list[str]:
        """What the groups of ``pattern`` are in what it has printed."""
        return re.findall(pattern, self.output)


def send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


def open_to_others(data: Path) -> list[str]:
    """What others could read or enter, of the directory and all in it. A volume server gives the
    mode 0644 to its .vif, which has the settings of a volume."""
    found = [data, *(one for one in data.rglob("*") if one.suffix != ".vif")]
    return [str(one) for one in found if not one.is_symlink() and one.stat().st_mode & 0o077]


def running_in(data: Path) -> list[str]:
    """The processes that work below a directory."""
    return [
        process.info["name"]
        for process in psutil.process_iter(["name", "cwd"])
        if (process.info["cwd"] or "").startswith(f"{data}{os.sep}")
    ]


@pytest.fixture
def data() -> Iterator[Path]:
    """A directory that the user of PostgreSQL can reach."""
    path = Path(tempfile.mkdtemp(prefix="sfs-laptop-")).resolve()
    yield path
    for process in psutil.process_iter(["cwd"]):
        if (process.info["cwd"] or "").startswith(f"{path}{os.sep}"):
            process.kill()
    shutil.rmtree(path)


async def test_a_cluster_on_a_laptop_serves_and_leaves_nothing_behind(
    data: Path, ledger: Ledger
) -> None:
    data.chmod(0o755)  # as somebody may have made it
    with Launcher(data) as launcher:
        ports = [int(port) for port in launcher.found(r"sfs\d +http://127\.0\.0\.1:(\d+)")]
        victims = [int(pid) for pid in launcher.found(r"volume\d .* pid (\d+)")]
        assert (len(ports), len(victims)) == (4, 3)
        assert victims == [int((data / f"volume{n}" / "pid").read_text()) for n in range(3)]
        content = some_bytes(40_000_000, 1)
        alice = bearer(secret=launcher.secret)
        with ledger.loop("make cluster: kill -9 by the printed pid in four downloads") as loop:
            with loop.transfer(len(content)):
                answer = await upload(ports[0], "/storage/default/f", content, headers=alice)
                assert answer.status == 201
            masters = [int(pid) for pid in launcher.found(r"master\d .* pid (\d+)")]
            for number, pid in enumerate(victims):
                # With nobody to tell of it, the next chunk is asked of the dead.
                send(masters, signal.SIGSTOP)
                with loop.transfer(len(content) * len(ports)):
                    strike = partial(os.kill, pid, signal.SIGKILL)
                    first = download(ports[number], "/storage/default/f", at=MB, strike=strike)
                    others = [download(port, "/storage/default/f") for port in ports[1:]]
                    bodies = await asyncio.gather(first, *others)
                    assert {sha256(body) for body in bodies} == {sha256(content)}
                send(masters, signal.SIGCONT)
                loop.strikes += 1
                launcher.wait_for(f"volume{number} has died")
                launcher.signal(signal.SIGUSR1)
                launcher.wait_for(f"started again: volume{number}")
            failovers = [await metric(port, "sfs_gfs_failovers_total") for port in ports]
            loop.notes.append(f"{sum(failovers):.0f} failovers")
            assert sum(failovers) > 0
        launcher.signal(signal.SIGINT)
        assert launcher.wait() == 0
    assert "Traceback" not in launcher.output
    assert running_in(data) == []
    assert open_to_others(data) == []


async def test_the_servers_of_a_launcher_that_was_killed_are_ended_by_the_next(data: Path) -> None:
    first = Launcher(data)
    first.signal(signal.SIGKILL)
    first.wait()
    left = {process for process in running_in(data) if process != "postgres"}
    assert left
    with Launcher(data) as second:
        ended = second.found(r"ended what was left running: (.*)")
        assert ended[0].count(",") == SERVERS - 1
        with pytest.raises(AssertionError, match="another launcher"):
            Launcher(data)
        for port in second.found(r"(?:sfs3|gateway) +http://127\.0\.0\.1:(\d+)"):
            assert (await call(int(port), "GET", "/storage/files")).json() == []
    assert second.wait() == 0
    assert running_in(data) == []


def test_the_tour_is_true(data: Path) -> None:
    """Its commands run as they stand, on the ports that this cluster has."""
    with Launcher(data / "sfs-cluster") as launcher:
        ports = launcher.found(r"(?:sfs|master)\d +http://127\.0\.0\.1:(\d+)")
        documented = [*range(8080, 8084), *range(9333, 9336)]
        replace = {
            f"localhost:{there}": f"127.0.0.1:{here}"
            for there, here in zip(documented, ports, strict=True)
        }
        printed = run_examples(TOUR.read_text(), data, replace, {}, TOUR_SECONDS)
        assert launcher.wait() == 0
    digests = re.findall(r"([0-9a-f]{64})  (?:big|copy)\n", printed)
    assert len(digests) == 4
    assert len(set(digests)) == 1
    counted = re.findall(r"^sfs_gfs_failovers_total\{.*\} (\S+)$", printed, re.MULTILINE)
    assert sum(map(float, counted)) > 0
    assert launcher.found(r"(\w+) has died") == ["volume0", "master0"]
    assert "started again: volume0\n" in launcher.output
    assert running_in(data) == []
