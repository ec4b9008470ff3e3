"""Which rooms the house has, and what may pass between them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ORDER = """
gfs
gfs.clock gfs.errors gfs.futures gfs.types gfs.paths gfs.streams gfs.threads gfs.pagecache
gfs.api
gfs.copying
gfs.chunkservers.edges gfs.chunkservers.connection gfs.chunkservers.client
gfs.chunkservers.spans gfs.chunkservers.replicas gfs.chunkservers.source gfs.chunkservers
gfs.observe
gfs.embedded.border gfs.embedded.trash gfs.embedded.tree gfs.embedded.listing
gfs.embedded.reader gfs.embedded.writer gfs.embedded.filesystem gfs.embedded.copying gfs.embedded
gfs.seaweedfs.proto
gfs.seaweedfs.proto.filer_pb2 gfs.seaweedfs.proto.master_pb2 gfs.seaweedfs.proto.volume_pb2
gfs.seaweedfs.servers gfs.seaweedfs.servers.address gfs.seaweedfs.servers.fid
gfs.seaweedfs.servers.signing gfs.seaweedfs.servers.rpc
gfs.seaweedfs.entries
gfs.seaweedfs.servers.master gfs.seaweedfs.servers.filer gfs.seaweedfs.servers.volume
gfs.seaweedfs.needles gfs.seaweedfs.watch gfs.seaweedfs.directories gfs.seaweedfs.publishing
gfs.seaweedfs.buffers gfs.seaweedfs.uploads
gfs.seaweedfs.writer gfs.seaweedfs.reader gfs.seaweedfs.filesystem gfs.seaweedfs
gfs.factory
sfs_server
sfs_server.cors sfs_server.proxies sfs_server.config sfs_server.listening
sfs_server.errors sfs_server.turns sfs_server.paging sfs_server.error_page
sfs_server.claims sfs_server.pem sfs_server.jwks sfs_server.auth sfs_server.access
sfs_server.names sfs_server.multipart_ranges sfs_server.conditional sfs_server.disposition
sfs_server.digests sfs_server.parts sfs_server.form sfs_server.logs sfs_server.wellformed
sfs_server.database_address sfs_server.database_session sfs_server.database
sfs_server.database_checks sfs_server.database_migrations sfs_server.listener
sfs_server.embedded_postgres_files sfs_server.embedded_postgres_processes
sfs_server.embedded_postgres sfs_server.data_directory
sfs_server.store sfs_server.backup
sfs_server.static_files sfs_server.streams
sfs_server.namespace_cache sfs_server.namespaces sfs_server.links
sfs_server.progress_types sfs_server.progress sfs_server.progress_messages
sfs_server.progress_relay
sfs_server.connection sfs_server.metrics sfs_server.keys sfs_server.audit sfs_server.wire
sfs_server.sendfile sfs_server.recvfile sfs_server.transfer sfs_server.uploads
sfs_server.json_body
sfs_server.handlers sfs_server.handlers.progress
sfs_server.handlers.files sfs_server.handlers.listings
sfs_server.handlers.links
sfs_server.handlers.namespaces sfs_server.handlers.static
sfs_server.openapi_parts sfs_server.openapi
sfs_server.handlers.service
sfs_server.middlewares sfs_server.routes
sfs_server.app
sfs_server.cli
sfs_server.__main__
""".split()
"""Every module, each after all that it imports."""

HOMES = {
    "aiopg": {"sfs_server.database", "sfs_server.database_session"},
    "psycopg2": {
        "sfs_server.database",
        "sfs_server.database_address",
        "sfs_server.database_session",
    },
    "jose": {"sfs_server.auth"},
    "prometheus_client": {"sfs_server.metrics"},
    "psutil": {"sfs_server.embedded_postgres_processes"},
    "uvloop": {"sfs_server.__main__"},
    "ctypes": {"gfs.pagecache"},
    "grpc": {"gfs.seaweedfs.servers.rpc"},
    "google_crc32c": {
        "gfs.seaweedfs.needles",
        "gfs.seaweedfs.servers.volume",
        "gfs.seaweedfs.writer",
    },
}
"""Library → the modules that alone may know it."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in ("gfs", "sfs_server"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield name, ast.parse(path.read_text())


TREES = dict(modules())


def imported(tree: ast.Module) -> Iterator[str]:
    """The modules that a module imports; of ours, the one that the name comes from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in TREES else node.module


def test_every_module_has_its_place() -> None:
    assert sorted(TREES) == sorted(ORDER)


@pytest.mark.parametrize("name", TREES)
def test_imports_go_one_way(name: str) -> None:
    place = ORDER.index(name)
    for other in imported(TREES[name]):
        if other in TREES:
            assert ORDER.index(other) < place, f"{name} imports {other}, which comes after it"


@pytest.mark.parametrize("name", [name for name in TREES if name.startswith("gfs")])
def test_the_gfs_knows_no_http_server(name: str) -> None:
    for other in imported(TREES[name]):
        assert not other.startswith(("sfs_server", "aiohttp.web"))
    web = [
        alias.name
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.ImportFrom) and node.module == "aiohttp"
        for alias in node.names
    ]
    assert "web" not in web


@pytest.mark.parametrize("name", TREES)
def test_one_library_has_one_home(name: str) -> None:
    for other in imported(TREES[name]):
        homes = HOMES.get(other.partition(".")[0])
        assert homes is None or name in homes, f"{name} imports {other}"


def test_only_the_factory_names_an_engine() -> None:
    for engine in ("gfs.embedded", "gfs.seaweedfs"):
        for name, tree in TREES.items():
            if not name.startswith(engine) and name != "gfs.factory":
                assert not any(other.startswith(engine) for other in imported(tree)), name


@pytest.mark.parametrize("name", TREES)
def test_no_import_hides_in_a_function(name: str) -> None:
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not inner, f"{name}.{node.name}"


PARSERS = frozenset(
    """
charset content_type cookies forwarded host http_range if_match if_modified_since if_none_match
if_range if_unmodified_since json multipart post text url
""".split()
)
"""What aiohttp's request makes of its text by parsers that are slow, or may become so: see "What
reads a request's text" in docs/security.md."""


@pytest.mark.parametrize("name", [name for name in TREES if name.startswith("sfs_server")])
def test_no_request_is_parsed_by_what_is_slow(name: str) -> None:
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("request"):
            assert node.attr not in PARSERS, f"{name} line {node.lineno}: {ast.unparse(node)}"


PURE = """
claims cors names namespace_cache multipart_ranges conditional disposition access progress_messages
error_page wellformed parts proxies openapi_parts openapi
""".split()


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_waits_for_nothing(name: str) -> None:
    waits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    tree = TREES[f"sfs_server.{name}"]
    assert not [node for node in ast.walk(tree) if isinstance(node, waits)]


def test_the_picture_of_the_rooms_goes_down_in_that_order() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    picture = page.partition("## Rooms")[2].split("```")[1]
    package, places = "", []
    for line in picture.splitlines():
        package = line[:14].strip(" /") or package
        names = re.findall(r"[a-z_]+/?", line[14:46])
        if names and names[0].endswith("/"):
            names = [f"{names[0][:-1]}.{name}" for name in line[46:].split()]
        places += [(package, sorted(ORDER.index(f"{package}.{name}") for name in names))]
    rows = [(package, row) for package, row in places if row]
    assert len(rows) > 20
    for (package, upper), (other, lower) in pairwise(rows):
        assert package != other or upper[0] > lower[-1], f"{ORDER[lower[-1]]} is too low"
