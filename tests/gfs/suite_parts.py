"""What the parts of the suite have in common: files to store, and how to look at what is there."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import aclosing
from typing import ClassVar

import pytest

from gfs.api import FileSystem, Sink
from gfs.types import ANYTHING, Entry, Expect, FileInfo, Published

DIR = "suite"
CHUNK = 4 * 1024 * 1024
NAMES = (
    "plain.txt",
    "with space",
    "quote\"d 'name'",
    "per%2Fcent",
    "a+b&c=d?e#f;g",
    "{braces}",
    "~tilde",
    ".hidden",
    "-dash",
    "ünïcödé",
    "u\u0308nicode decomposed",
    "日本語",
    "🦆",
    "x" * 255,
    "é" * 127,
)


def content(size: int, seed: int = 1) -> bytes:
    """``size`` bytes in which no two places look alike, the same ones for the same ``seed``."""
    return random.Random(seed).randbytes(size)


async def store(
    fs: FileSystem, name: str, data: bytes, *, expect: Expect = ANYTHING, piece: int = 100_000
) -> Published:
    """Publish ``data``, written in pieces."""
    async with await fs.create(DIR, name, expect=expect, size=len(data)) as writer:
        await feed(writer, data, piece)
        await writer.flush()
        return await writer.commit()


async def feed(sink: Sink, data: bytes, piece: int = 100_000) -> None:
    for start in range(0, len(data), piece):
        await sink.write(data[start : start + piece])


async def load(fs: FileSystem, name: str, start: int = 0, length: int | None = None) -> bytes:
    """The bytes of a range; without ``length`` up to the end."""
    async with await fs.open(DIR, name) as reader:
        count = reader.info.size - start if length is None else length
        async with aclosing(reader.read(start, count)) as pieces:
            return b"".join([bytes(piece) async for piece in pieces])


async def listed(fs: FileSystem, **query: object) -> list[FileInfo]:
    async with aclosing(fs.list_files(DIR, **query)) as batches:  # type: ignore[arg-type]
        return [info async for batch in batches for info in batch]


async def names(fs: FileSystem, **query: object) -> list[str]:
    return [info.path for info in await listed(fs, **query)]


async def entries(fs: FileSystem, folder: str = "", **query: object) -> list[Entry]:
    async with aclosing(fs.list_folder(DIR, folder, **query)) as batches:  # type: ignore[arg-type]
        return [entry async for batch in batches for entry in batch]


class Suite:
    """What every part of the suite is."""

    lacks: ClassVar[Mapping[str, str]] = {}
    """Name of a test → why this engine cannot pass it."""

    @pytest.fixture(autouse=True)
    def _skip_what_is_lacking(self, request: pytest.FixtureRequest) -> None:
        reason = self.lacks.get(request.function.__name__)
        if reason is not None:
            pytest.skip(reason)
