"""Archives that are large, of a whole process: they arrive whole, and take little memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import proc
from tests.support.credentials import bearer
from tests.support.launcher import launched
from tests.support.programs import run_program

MIB = 1024 * 1024
SECONDS = 300
"""For 4 GiB where others use the machine too."""


def one_over_4_gib(top: Path) -> None:
    """A file of more than 4 GiB, and another one behind it: its offset needs ZIP64 too."""
    top.mkdir()
    with (top / "a").open("wb") as file:
        file.truncate(2**32 + 1)
    (top / "b").write_bytes(b"behind it")


def fifty_thousand_files(top: Path) -> None:
    for number in range(500):
        folder = top / f"folder {number}"
        folder.mkdir(parents=True)
        for name in range(100):
            (folder / f"file {name}").write_bytes(b"1")


async def run(*command: str | Path) -> None:
    await asyncio.to_thread(lambda: run_program(*map(str, command), seconds=SECONDS))


@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.parametrize(
    ("grow", "memory"), [(one_over_4_gib, 16 * MIB), (fifty_thousand_files, 64 * MIB)]
)
async def test_a_large_archive(tmp_path: Path, grow: Callable[[Path], None], memory: int) -> None:
    async with launched(tmp_path / "data") as sfs:
        await asyncio.to_thread(grow, tmp_path / "data" / "files" / "default" / "top")
        archive = tmp_path / "top.zip"
        target = f"http://127.0.0.1:{sfs.port}/storage/default/top/?archive=zip"
        authorization = f"Authorization: {bearer()['Authorization']}"
        before = proc.resident(sfs.pid)
        proc.reset_peak(sfs.pid)
        await run("curl", "-fsS", "-H", authorization, "-o", archive, target)
        assert proc.peak(sfs.pid) - before < memory
    for tester in (("unzip", "-tqq"), ("7z", "t")):
        await run(*tester, archive)
    archive.unlink()
