"""A copy of the store of one machine, whose folders are moved while it is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gfs.copying import MOST_PASSES
from gfs.embedded import copying
from gfs.embedded.copying import copy
from gfs.errors import StoreUnavailable
from gfs.factory import left_out
from tests.support.mounts import tmpfs

DIR = "photos"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A store with two folders that have a file each."""
    for path in ("a/1", "b/2"):
        file = tmp_path / "source" / DIR / path
        file.parent.mkdir(parents=True)
        file.write_text(path)
    return tmp_path / "source"


@pytest.fixture
def after_a_folder(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], None]], None]:
    """Sets what is called with the path of each folder that has been copied."""

    def set_hook(hook: Callable[[str], None]) -> None:
        whole = copying._Pass.copy_folder

        def copy_folder(
            self: copying._Pass, within: int, target: int, directory: str, path: str
        ) -> None:
            whole(self, within, target, directory, path)
            hook(path)

        monkeypatch.setattr(copying._Pass, "copy_folder", copy_folder)

    return set_hook


def found(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): path.read_text()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_folder_that_is_moved_behind_the_walk_is_copied(
    source: Path, tmp_path: Path, after_a_folder: Callable[[Callable[[str], None]], None]
) -> None:
    moved: list[str] = []

    def move(path: str) -> None:
        if path in ("a", "b") and not moved:
            other = "b" if path == "a" else "a"
            (source / DIR / other).rename(source / DIR / path / "in")
            moved.append(other)

    after_a_folder(move)
    copied = copy(str(source), str(tmp_path / "target"), [DIR])
    assert (copied.files, copied.linked) == (2, 2)
    assert found(tmp_path / "target" / DIR) == found(source / DIR)
    assert len(moved) == 1


def test_what_is_moved_all_the_time_ends_the_copy_at_some_time(
    source: Path, tmp_path: Path, after_a_folder: Callable[[Callable[[str], None]], None]
) -> None:
    passes: list[str] = []

    def move(path: str) -> None:
        if path == "":
            for folder in (source / DIR).iterdir():
                folder.rename(f"{folder}x")
            passes.append(path)

    after_a_folder(move)
    copied = copy(str(source), str(tmp_path / "target"), [DIR])
    assert copied.files == 2 * MOST_PASSES
    assert len(passes) == MOST_PASSES


@pytest.mark.parametrize("path", ["a", "a/1"])
def test_a_file_and_a_folder_that_change_places_end_the_copy(
    source: Path,
    tmp_path: Path,
    after_a_folder: Callable[[Callable[[str], None]], None],
    path: str,
) -> None:
    def change(folder: str) -> None:
        place = source / DIR / path
        if folder == "" and place.is_dir():
            (source / DIR / "a").rename(source / DIR / "c")
            place.touch()
        elif folder == "" and place.read_text():
            place.unlink()
            place.mkdir()

    after_a_folder(change)
    with pytest.raises(StoreUnavailable, match="in the place of the other"):
        copy(str(source), str(tmp_path / "target"), [DIR])


def test_a_mount_in_a_directory_is_not_copied_but_named(source: Path, tmp_path: Path) -> None:
    """Nothing in it is of the store."""
    place = source / DIR / "a" / "mount"
    place.mkdir()
    with tmpfs(place):
        (place / "file").touch()
        assert copy(str(source), str(tmp_path / "target"), [DIR]).files == 2
        [(path, what)] = left_out(str(source), [DIR])
    assert (path, what[:28]) == (f"{DIR}/a/mount", "a folder that cannot be read")
