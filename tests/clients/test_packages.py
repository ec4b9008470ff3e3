"""A folder is a repository of packages, as it is."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from pathlib import Path

import pytest

from tests.clients.conftest import Folder
from tests.support.programs import run_program

WHEEL = "sfs_demo-1.0-py3-none-any.whl"
DEB = "sfs-demo_1.0_all.deb"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package of Python with one module."""
    metadata = "Metadata-Version: 2.1\nName: sfs-demo\nVersion: 1.0\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("sfs_demo.py", "")
        file.writestr("sfs_demo-1.0.dist-info/METADATA", metadata)
        file.writestr("sfs_demo-1.0.dist-info/WHEEL", tags)
        file.writestr("sfs_demo-1.0.dist-info/RECORD", "")
    return path


@pytest.mark.parametrize(
    ("path", "flags"),
    [("", ["--no-index", "--find-links"]), ("sfs-demo/", ["--index-url"])],
    ids=["links", "index"],
)
def test_pip_finds_a_wheel(
    folder: Folder, wheel: Path, tmp_path: Path, path: str, flags: list[str]
) -> None:
    """In a folder of wheels, or in one of folders, one for each package (PEP 503)."""
    folder.put(wheel, path)
    pip = ["-m", "pip", "--isolated", "download", "--no-deps", "--no-cache-dir", "-d", "got"]
    trusted = ["--trusted-host", "127.0.0.1"]
    run_program(sys.executable, *pip, *trusted, *flags, folder.url, "sfs-demo", cwd=tmp_path)
    assert (tmp_path / "got" / WHEEL).read_bytes() == wheel.read_bytes()


@pytest.fixture
def deb(tmp_path: Path) -> Path:
    """A package of Debian with nothing in it."""
    control = tmp_path / "package" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text(
        "Package: sfs-demo\nVersion: 1.0\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.com>\nDescription: nothing\n"
    )
    run_program("dpkg-deb", "--build", tmp_path / "package", tmp_path / DEB)
    return tmp_path / DEB


@pytest.mark.parametrize("prefix", ["", "./", "pool/main/"])
def test_apt_installs_from_a_folder(folder: Folder, deb: Path, tmp_path: Path, prefix: str) -> None:
    """``deb URL ./``, the usual line for a folder with a file ``Packages``."""
    control = (tmp_path / "package" / "DEBIAN" / "control").read_text()
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    packages = tmp_path / "Packages"
    packages.write_text(
        f"{control}Filename: {prefix}{DEB}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"
    )
    folder.put(packages, "Packages")
    folder.put(deb, f"{prefix.removeprefix('./')}{DEB}")
    apt = tmp_path / "apt"
    for directory in ("lists/partial", "cache/archives/partial"):
        (apt / directory).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(f"deb [trusted=yes] {folder.url} ./\n")
    settings = {
        "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Main": "/dev/null",
        "Dir::Etc::Parts": "/dev/null",
        "Dir::State::Lists": apt / "lists",
        "Dir::State::Status": apt / "status",
        "Dir::Cache": apt / "cache",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::http::Proxy::127.0.0.1": "DIRECT",
        "Debug::NoLocking": "true",
    }
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    env = {"APT_CONFIG": os.devnull}
    run_program("apt-get", *options, "update", cwd=tmp_path, env=env)
    (tmp_path / "got").mkdir()
    run_program("apt-get", *options, "download", "sfs-demo", cwd=tmp_path / "got", env=env)
    assert (tmp_path / "got" / DEB).read_bytes() == deb.read_bytes()
