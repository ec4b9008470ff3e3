"""Trees of files go up and come down by programs that know nothing of SFS."""

from __future__ import annotations

from pathlib import Path

from tests.clients.conftest import TREE, Folder, files_of
from tests.support.programs import run_program


def test_curl_uploads_at_any_depth(folder: Folder, tree: Path) -> None:
    folder.upload(tree)
    folder.put(tree / "top.txt", "a/b/")
    assert run_program("curl", "-sSf", f"{folder.url}a/b/d.txt") == "d"
    assert run_program("curl", "-sSf", f"{folder.url}a/b/top.txt") == "top"
    assert "c.bin" in run_program("curl", "-sSfL", f"{folder.url}a/b")


def test_wget_mirrors_an_index(folder: Folder, tree: Path, tmp_path: Path) -> None:
    folder.upload(tree)
    up = len(folder.url.rstrip("/").split("/")) - 3
    options = ["-q", "-r", "-l", "inf", "-np", "-nH", f"--cut-dirs={up}", "-e", "robots=off"]
    options += ["-R", "index.html*", "--restrict-file-names=nocontrol"]
    run_program("wget", *options, "-P", tmp_path / "mirror", folder.url)
    assert files_of(tmp_path / "mirror") == TREE


def test_rclone_copies_a_tree(folder: Folder, tree: Path, tmp_path: Path) -> None:
    folder.upload(tree)
    remote = ["--http-url", folder.url, "--config", "", ":http:"]
    listed = run_program("rclone", "lsf", "-R", "--files-only", *remote).splitlines()
    assert sorted(listed) == sorted(TREE)
    run_program("rclone", "copy", *remote, tmp_path / "copy")
    assert files_of(tmp_path / "copy") == TREE
    run_program("rclone", "check", "--download", *remote, tree)
