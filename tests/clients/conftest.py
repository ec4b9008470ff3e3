"""A real process of SFS, which programs of others speak to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from manifests.laptop.weed import free_ports
from tests.support.credentials import bearer
from tests.support.launcher import Process
from tests.support.postgres import Postgres
from tests.support.programs import run_program

_numbers = count()

TREE = {
    "top.txt": b"top",
    "empty": b"",
    "a/b/c.bin": bytes(range(256)) * 1000,
    "a/b/d.txt": b"d",
    "a/spaced out/100% #1?.txt": b"odd",
    "a/spaced out/&<>'\"+;=.txt": b"odder",
    "\u00e9t\u00e9/\u65e5\u672c.txt": b"not ASCII",
}
"""Files of a folder, by their paths in it."""


@dataclass(frozen=True)
class Folder:
    """A folder of a running service: its URL, with a slash at the end."""

    url: str

    def upload(self, source: Path) -> None:
        """Put all files below ``source`` into it, by curl."""
        for file in source.rglob("*"):
            if file.is_file():
                self.put(file, file.relative_to(source).as_posix())

    def put(self, file: Path, path: str) -> None:
        """Upload ``file`` as ``path`` in the folder, or with its own name if ``path`` ends with a
        slash."""
        token = f"Authorization: {bearer()['Authorization']}"
        quoted = "".join(f"%{byte:02X}" if byte != ord("/") else "/" for byte in path.encode())
        run_program("curl", "-sS", "--fail-with-body", "-H", token, "-T", file, self.url + quoted)


@pytest.fixture(scope="session")
def page_port() -> int:
    """A port whose pages, at 127.0.0.1, may use the service."""
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def origin(postgres: Postgres, page_port: int) -> Iterator[str]:
    """The origin of a service on plain files."""
    postgres.execute("CREATE DATABASE clients")
    flags = ["-database", postgres.url("clients"), "-cors-origin", f"http://127.0.0.1:{page_port}"]
    with (
        tempfile.TemporaryDirectory(prefix="sfs-clients-") as data,
        Process(Path(data), *flags) as process,
    ):
        yield f"http://127.0.0.1:{process.port}"


@pytest.fixture
def folder(origin: str) -> Folder:
    """A folder that no other test has, and that is not there yet."""
    return Folder(f"{origin}/storage/default/clients/{next(_numbers)}/")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with the files of TREE."""
    root = tmp_path / "tree"
    for path, content in TREE.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def files_of(root: Path) -> dict[str, bytes]:
    """The files below ``root``, by their paths in it."""
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in root.rglob("*")
        if file.is_file()
    }
