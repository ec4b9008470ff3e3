"""The files of volume servers, seen from outside: where a chunk is, how to spoil it, and which
needles belong to no file."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

from gfs.seaweedfs.filesystem import SeaweedFileSystem
from gfs.seaweedfs.servers.fid import split
from gfs.seaweedfs.servers.filer import Filers
from manifests.laptop.weed import program
from tests.gfs.cluster import Cluster

FSCK_SECONDS = 60.0


def holders(cluster: Cluster, piece: bytes) -> list[tuple[Path, int]]:
    """The volume files that have ``piece``, and where."""
    found = []
    for process in cluster.volumes:
        for path in process.home.glob("*.dat"):
            place = path.read_bytes().rfind(piece)
            if place >= 0:
                found.append((path, place))
    return found


def flip(path: Path, place: int) -> None:
    """Turn one byte of a file that is open elsewhere over."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        (byte,) = os.pread(descriptor, 1, place)
        os.pwrite(descriptor, bytes([byte ^ 0xFF]), place)
    finally:
        os.close(descriptor)


Copy = tuple[str, int, int]
"""A copy of a needle: server (HTTP ``host:port``), volume, key."""


def copies(cluster: Cluster) -> set[Copy]:
    """The copies of needles that are stored and not deleted, by the index files of the servers.

    An index is a journal of records of 17 bytes: key, place in the volume (5 bytes, 0 for a needle
    that was deleted), size (below 0 likewise).
    """
    found: set[Copy] = set()
    for process in cluster.volumes:
        for path in process.home.glob("*.idx"):
            volume = int(path.stem.rpartition("_")[2])
            for key, place, size in _records(path.read_bytes()):
                copy = (process.http, volume, key)
                if place and size > 0:
                    found.add(copy)
                else:
                    found.discard(copy)
    return found


def _records(index: bytes) -> Iterator[tuple[int, int, int]]:
    for start in range(0, len(index) - 16, 17):
        key, low, high, size = struct.unpack(">QIBi", index[start : start + 17])
        yield key, high << 32 | low, size


async def referenced(filers: Filers, directory: str = "/") -> set[tuple[int, int]]:
    """Volume and key of every needle that an entry below ``directory`` names."""
    found: set[tuple[int, int]] = set()
    inner = []
    listing = filers.listing(directory, prefix="", after="", limit=100_000)
    async with aclosing(listing) as entries:
        async for entry in entries:
            if entry.is_directory:
                inner.append(f"{directory.rstrip('/')}/{entry.name}")
            assert not any(chunk.is_chunk_manifest for chunk in entry.chunks)
            found.update(split(chunk.file_id)[:2] for chunk in entry.chunks)
    for one in inner:
        found |= await referenced(filers, one)
    return found


async def orphans(cluster: Cluster) -> set[Copy]:
    """The copies of needles that are stored and that no entry names."""
    fs = await SeaweedFileSystem.start(cluster.masters)
    try:
        named = await referenced(fs._filers)
    finally:
        await fs.close()
    return {copy for copy in copies(cluster) if copy[1:] not in named}


def fsck(cluster: Cluster, *flags: str) -> set[Copy]:
    """The copies that ``volume.fsck`` calls orphans; blocks for about a second."""
    weed = program()
    assert weed is not None
    done = subprocess.run(
        [weed, "shell", f"-master={cluster.masters}"],
        input=f"lock\nvolume.fsck -v -cutoffTimeAgo=1s {' '.join(flags)}\nunlock\n",
        cwd=cluster.home,
        env={"HOME": str(cluster.home)},
        capture_output=True,
        text=True,
        timeout=FSCK_SECONDS,
        check=True,
    )
    assert " directories, " in done.stdout, done.stdout + done.stderr
    found: set[Copy] = set()
    server = ""
    for line in done.stdout.splitlines():
        if line.startswith("dataNode:"):
            server = line.removeprefix("dataNode:").partition("\t")[0]
        elif line.startswith(":"):
            volume, needle = line.removeprefix(":").split(",")
            found.add((server, int(volume), int(needle[:-8], 16)))
    return found
