"""Lists and indexes of folders that are on a cluster."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from sfs_server.config import Config
from tests.gfs.cluster import Cluster, cluster, seaweed
from tests.support.client import connect
from tests.support.service import Service

__all__ = ["cluster", "seaweed"]

PATHS = sorted(["a-", "a.txt", "a/b-", "a/b.txt", "a/b/c", "b", "é/Ü 1.txt"], key=str.encode)


@pytest.fixture
def config(config: Config, cluster: Cluster) -> Config:
    """The settings of ``service``: on the cluster, at a place of the test's own."""
    return replace(config, master=cluster.masters, prefix=f"/{Path(config.data).parent.name}")


async def test_lists_are_those_of_the_embedded_store(service: Service) -> None:
    for path in PATHS:
        await service.put(f"/storage/default/{quote(path)}", path.encode())
    async with connect(service.port) as connection:
        for query, expected in (
            ("", PATHS),
            ("?prefix=a/b", ["a/b-", "a/b.txt", "a/b/c"]),
            ("?after=a/b.txt", ["a/b/c", "b", "é/Ü 1.txt"]),
            ("?limit=3", PATHS[:3]),
            ("?limit=3&after=a/b-", ["a/b.txt", "a/b/c", "b"]),
            ("?contains=%C3%BC", ["é/Ü 1.txt"]),
            ("?folder=", ["a", "a-", "a.txt", "b", "é"]),
            ("?folder=&type=folder", ["a", "é"]),
            ("?folder=&after=a&limit=2", ["a-", "a.txt"]),
            ("?folder=a", ["b", "b-", "b.txt"]),
            ("?folder=a&type=file&prefix=b.", ["b.txt"]),
            ("?folder=a/b", ["c"]),
        ):
            answer = await connection.ask("GET", f"/storage/files{query}")
            assert [entry["name"] for entry in answer.json()] == expected, query
            for entry in answer.json():
                served = await connection.ask("HEAD", entry["path"])
                assert served.status == 200
                if entry["type"] == "file":
                    assert served.headers["ETag"] == entry["etag"]
        for folder in ("x", "a/x", "b", "a/b/c"):
            missing = await connection.ask("GET", f"/storage/files?folder={folder}")
            assert missing.status == 404, folder
        page = await connection.ask("GET", "/storage/default/a/")
        hrefs = re.findall(r'<a href="([^"]*)">', page.body.decode())
        assert hrefs == ["../", "b/", "b-", "b.txt"]
