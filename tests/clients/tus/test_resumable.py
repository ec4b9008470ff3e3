"""Clients of tus that know nothing of SFS upload over a line that breaks, and nothing is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.clients.tus.conftest import (
    CHUNKS,
    POLL_SECONDS,
    STRIKE_BYTES,
    STRIKES,
    UPLOAD_SECONDS,
    Client,
    Line,
    succeeds,
)
from tests.support.client import MIB
from tests.support.proxy import Strike


@pytest.mark.parametrize("strike", STRIKES)
@pytest.mark.parametrize("chunk", CHUNKS, ids=["parts", "whole"])
@pytest.mark.parametrize("client", ["tuspy", "aiotus", "tus-js-client"], indirect=True)
async def test_an_upload_outlives_its_connections(
    client: Client, line: Line, file: Path, chunk: int, strike: Strike
) -> None:
    async with line.breaking(strike):
        with client.start(line.url, file, "a b.bin", chunk) as program:
            await succeeds(program)
    await line.check("a%20b.bin")


@pytest.mark.parametrize("client", ["tuspy", "tus-js-client"], indirect=True)
async def test_an_upload_outlives_its_client(client: Client, line: Line, file: Path) -> None:
    """It is killed in the middle, and another one goes on where it was."""
    line.proxy.stall_after(STRIKE_BYTES, upstream=True)
    with client.start(line.url, file, "again.bin", 4 * MIB) as program:
        async with asyncio.timeout(UPLOAD_SECONDS):
            while not line.proxy.strikes:
                assert program.alive, program.log
                await asyncio.sleep(POLL_SECONDS)
    line.proxy.heal()
    with client.start(line.url, file, "again.bin", 4 * MIB) as program:
        await succeeds(program)
        assert "goes on" in program.output
    await line.check("again.bin")
