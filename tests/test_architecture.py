"""Which rooms the house has, and what may pass between them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ORDER = """
gfs.clock gfs.errors gfs.futures gfs.types gfs.paths gfs.streams gfs.threads gfs.linux
gfs.api
gfs.copying
gfs.chunkservers
gfs.observe
gfs.embedded
gfs.seaweedfs
gfs.factory
gfs
sfs_server
sfs_server.errors
sfs_server.http
sfs_server.config sfs_server.logs sfs_server.listening
sfs_server.database
sfs_server.postgres
sfs_server.auth
sfs_server.namespaces
sfs_server.exchange sfs_server.streams
sfs_server.progress sfs_server.changes
sfs_server.archives sfs_server.uploads
sfs_server.metrics sfs_server.store sfs_server.backup
sfs_server.openapi sfs_server.page
sfs_server.web
sfs_server.transfer
sfs_server.listing sfs_server.publishing
sfs_server.handlers
sfs_server.routes
sfs_server.app
sfs_server.cli
sfs_server.__main__
""".split()
"""Packages, and modules outside of one; each may import what stands before it. Within a package,
modules may import each other in any order that has no cycle."""

HOMES = {
    "aiopg": {"sfs_server.database"},
    "psycopg2": {"sfs_server.database"},
    "jose": {"sfs_server.auth.tokens"},
    "prometheus_client": {"sfs_server.metrics"},
    "psutil": {"sfs_server.postgres.processes"},
    "zipfile": {"sfs_server.archives"},
    "uvloop": {"sfs_server.__main__"},
    "ctypes": {"gfs.linux"},
    "grpc": {"gfs.seaweedfs.servers.rpc"},
    "hpack": {"gfs.seaweedfs.servers.http2"},
    "google_crc32c": {
        "gfs.chunkservers.reading",
        "gfs.seaweedfs.chunking",
        "gfs.seaweedfs.manifests",
    },
}
"""Library → the modules, or the packages, that alone may know it."""

PURE = """
sfs_server.http sfs_server.openapi sfs_server.auth.access sfs_server.auth.claims
sfs_server.namespaces.cache sfs_server.progress.messages sfs_server.archives.zips
sfs_server.exchange.payloads sfs_server.changes.messages
sfs_server.listing.query sfs_server.listing.json_array sfs_server.listing.index_page
sfs_server.web.error_page
""".split()
"""Packages and modules in which nothing waits, and that know no library that does."""

WAITING = "asyncio socket subprocess threading aiopg psycopg2 uvloop grpc".split()


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in ("gfs", "sfs_server"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield name, ast.parse(path.read_text())


TREES = dict(modules())
SERVER = [name for name in TREES if name.startswith("sfs_server")]


def within(name: str, place: str) -> bool:
    """Whether a module is ``place``, or is in that package."""
    return name == place or name.startswith(f"{place}.")


def room(name: str) -> str:
    """The entry of ORDER that a module belongs to."""
    return max((place for place in ORDER if within(name, place)), key=len)


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What a module imports: modules, and of ``from`` the names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield from ((node.module, alias.name) for alias in node.names)


def imported(tree: ast.Module) -> Iterator[str]:
    """The modules that a module imports; of ours, the one that the name comes from."""
    for module, name in imports(tree):
        yield f"{module}.{name}" if f"{module}.{name}" in TREES else module


def offered(package: str) -> set[str]:
    """What is in ``__all__`` of a package."""
    for node in TREES[package].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            found = ast.literal_eval(node.value)
            assert isinstance(found, list)
            return set(found)
    return set()


@pytest.mark.parametrize("name", TREES)
def test_imports_go_one_way(name: str) -> None:
    own = room(name)
    assert own not in {"gfs", "sfs_server"} or own == name, f"{own} is not in ORDER: {name}"
    for other in imported(TREES[name]):
        if other in TREES and room(other) != own:
            assert ORDER.index(room(other)) < ORDER.index(own), (
                f"{name} imports {other}, which comes after it"
            )


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: set(imported(tree)) & set(TREES) for name, tree in TREES.items()}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("name", SERVER)
def test_a_room_is_entered_by_its_door(name: str) -> None:
    for module, what in imports(TREES[name]):
        if module in TREES and room(module) not in (room(name), module):
            pytest.fail(f"{name} imports from {module}, which is private to {room(module)}")
        if module in SERVER and room(name) != module and f"{module}.{what}" not in TREES:
            door = offered(module)
            assert not door or what in door, f"{name}: {what} is not in __all__ of {module}"


@pytest.mark.parametrize("name", [name for name in TREES if name.startswith("gfs")])
def test_the_gfs_knows_no_http_server(name: str) -> None:
    for module, what in imports(TREES[name]):
        assert not module.startswith(("sfs_server", "aiohttp.web"))
        assert (module, what) != ("aiohttp", "web")


@pytest.mark.parametrize("name", TREES)
def test_one_library_has_one_home(name: str) -> None:
    for other in imported(TREES[name]):
        homes = HOMES.get(other.partition(".")[0])
        assert homes is None or any(within(name, home) for home in homes), f"{name} imports {other}"


def test_only_the_factory_names_an_engine() -> None:
    for engine in ("gfs.embedded", "gfs.seaweedfs"):
        for name, tree in TREES.items():
            if not within(name, engine) and name != "gfs.factory":
                assert not any(within(other, engine) for other in imported(tree)), name


@pytest.mark.parametrize("name", TREES)
def test_one_module_reads_the_time(name: str) -> None:
    reads = {"time.time", "time.time_ns", "time.monotonic", "datetime.now"}
    found = {ast.unparse(node) for node in ast.walk(TREES[name]) if isinstance(node, ast.Attribute)}
    assert name == "gfs.clock" or not found & reads, f"{name}: use gfs.clock"


@pytest.mark.parametrize("name", TREES)
def test_no_import_hides_in_a_function(name: str) -> None:
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not inner, f"{name}.{node.name}"


HANDLERS = [name for name in TREES if name.startswith("sfs_server.handlers.")]


@pytest.mark.parametrize("name", HANDLERS)
def test_no_handler_imports_a_handler(name: str) -> None:
    routed = {f"{module}.{what}" for module, what in imports(TREES["sfs_server.routes"])} & set(
        HANDLERS
    )
    assert len(routed) > 5
    if name in routed:
        assert not routed & set(imported(TREES[name]))


PARSERS = frozenset(
    """
charset content_type cookies forwarded host http_range if_match if_modified_since if_none_match
if_range if_unmodified_since json multipart post text url
""".split()
)
"""What aiohttp's request makes of its text by parsers that are slow, or may become so: see "What
reads a request's text" in docs/security.md."""


@pytest.mark.parametrize("name", SERVER)
def test_no_request_is_parsed_by_what_is_slow(name: str) -> None:
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("request"):
            assert node.attr not in PARSERS, f"{name} line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("name", TREES)
def test_libraries_are_changed_in_one_place(name: str) -> None:
    tree = TREES[name]
    foreign = {what or module for module, what in imports(tree) if module not in TREES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            assert name == "sfs_server.web.patches" or ast.unparse(node.value) not in foreign, (
                f"{name} line {node.lineno}: {ast.unparse(node)}"
            )


@pytest.mark.parametrize("name", [n for n in TREES if any(within(n, place) for place in PURE)])
def test_what_is_pure_waits_for_nothing(name: str) -> None:
    waits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    assert not [node for node in ast.walk(TREES[name]) if isinstance(node, waits)]
    for module in imported(TREES[name]):
        assert module.partition(".")[0] not in WAITING, f"{name} imports {module}"


@pytest.mark.parametrize("name", [name for name in TREES if within(name, "sfs_server.http")])
def test_http_is_pure_of_aiohttp(name: str) -> None:
    assert not [other for other in imported(TREES[name]) if within(other, "aiohttp")]


def test_the_picture_of_the_rooms_goes_down_in_that_order() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    picture = page.partition("## Rooms")[2].split("```")[1]
    package, rows = "", []
    for line in picture.splitlines():
        package = line[:14].strip(" /") or package
        left = line[14:].partition("  ")[0]
        names = [name.strip("/") for name in left.split()]
        if names:
            rows.append([ORDER.index(f"{package}.{name}") for name in names])
    assert sum(map(len, rows)) == len(ORDER) - 2  # all but the two packages themselves
    for upper, lower in pairwise(rows):
        assert min(upper) > max(lower), f"{ORDER[max(lower)]} is too low"
