"""Changes to an embedded store in processes that are killed in their midst, before each call that
changes anything on the disk. Run by ``test_kills.py`` as a program, which may fork because it has
no threads: ``python -m tests.gfs.embedded.kills PLACE CHANGE``.

It prints how often it killed, and fails if the store is then neither as before nor as afterwards.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from gfs.embedded import tree as tree_module
from gfs.embedded.tree import Tree
from gfs.linux import rename_exclusive
from gfs.types import ABSENT, ANYTHING, PRESENT, Expect

DIR = "suite"
OTHER = "other"
UPLOAD = "0123456789abcdef" * 2
"""A version that is made in parts: its bytes are there, and more that are in no part."""
PLANTED = ("f", "g", "folder/in/f", "folder/g", "there/old/f")
"""The files that are there before each change; their bytes are their paths."""

CHANGING = ("mkdir", "rmdir", "rename", "link", "unlink", "fsync", "write", "utime", "ftruncate")


def publish(tree: Tree, path: str, expect: Expect = ANYTHING) -> None:
    draft = tree.start(DIR, path, expect, 3)
    os.write(draft.descriptor, b"new")
    tree.seal(draft)
    tree.publish(draft)
    tree.drop(draft)


def publish_parts(tree: Tree, path: str, expect: Expect = ANYTHING) -> None:
    draft = tree.assemble(DIR, path, expect, UPLOAD, 3)
    tree.seal(draft)
    tree.publish(draft)
    tree.drop(draft)


CHANGES: dict[str, tuple[Callable[[Tree], object], tuple[str, ...]]] = {
    "publish": (lambda tree: publish(tree, "new"), ()),
    "publish-deep": (lambda tree: publish(tree, "a/b/new"), ("a/", "a/b/")),
    "publish-absent": (lambda tree: publish(tree, "a/new", ABSENT), ("a/",)),
    "publish-over": (lambda tree: publish(tree, "folder/g"), ()),
    "parts": (lambda tree: publish_parts(tree, "new"), ()),
    "parts-deep": (lambda tree: publish_parts(tree, "a/b/new"), ("a/", "a/b/")),
    "parts-absent": (lambda tree: publish_parts(tree, "a/new", ABSENT), ("a/",)),
    "parts-over": (lambda tree: publish_parts(tree, "folder/g", PRESENT), ()),
    "delete": (lambda tree: tree.delete(DIR, "folder/g", ANYTHING), ()),
    "make": (lambda tree: tree.make_folder(DIR, "a/b/c"), ("a/", "a/b/")),
    "remove": (lambda tree: tree.remove_folder(DIR, "folder"), ()),
    "remove-directory": (lambda tree: tree.discard_directory(DIR), ()),
    "move-file": (lambda tree: tree.move(DIR, "f", DIR, "folder/new"), ()),
    "move-folder": (lambda tree: tree.move(DIR, "folder", OTHER, "new"), ()),
    "move-deep": (lambda tree: tree.move(DIR, "folder", DIR, "a/b/new"), ("a/", "a/b/")),
    "move-file-over-file": (lambda tree: tree.move(DIR, "f", DIR, "folder/g"), ()),
    "move-file-over-folder": (lambda tree: tree.move(DIR, "f", DIR, "folder"), ()),
    "move-folder-over-file": (lambda tree: tree.move(DIR, "folder", DIR, "f"), ()),
    "move-folder-over-folder": (lambda tree: tree.move(DIR, "folder", DIR, "there"), ()),
}
"""Name → the change, and the empty folders that may be there when it was not finished."""


def state(root: Path) -> dict[str, bytes]:
    """What a store shows: its files, and its folders with a slash behind them."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not name.startswith("~"):
            found[name + "/" * path.is_dir()] = b"" if path.is_dir() else path.read_bytes()
    return found


def change(root: Path, name: str, lives: int) -> int:
    """Make a change in a process that is killed before its call number ``lives``; its status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    left = lives

    def mortal(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return call(*args, **options)

        return called

    tree = Tree(str(root))
    for call in CHANGING:
        setattr(os, call, mortal(getattr(os, call)))
    setattr(tree_module, "rename_exclusive", mortal(rename_exclusive))  # noqa: B010, as of os
    CHANGES[name][0](tree)
    os._exit(0)


def planted(root: Path) -> Path:
    """A new store with some files."""
    shutil.rmtree(root, ignore_errors=True)
    for path in PLANTED:
        (root / DIR / path).parent.mkdir(parents=True, exist_ok=True)
        (root / DIR / path).write_bytes(path.encode())
    (root / OTHER).mkdir()
    (root / "~uploads").mkdir()
    (root / "~uploads" / UPLOAD).write_bytes(b"new and more")
    return root


def repaired(root: Path) -> dict[str, bytes]:
    """What the store shows when it was started again, and nothing is left of what was killed."""
    tree = Tree(str(root))
    assert tree.empty_trash().count == 0
    tree.close()
    for scratch in ("~tmp", "~trash"):
        assert os.listdir(root / scratch) == [], scratch
    assert not (root / "~moving").exists()
    return state(root)


def main(place: str, name: str) -> None:
    root = Path(place)
    before = state(planted(root))
    assert change(root, name, lives=-1) == 0
    after = repaired(root)
    assert after != before
    empty = {f"{DIR}/{folder}": b"" for folder in CHANGES[name][1]}
    started = [before | dict(list(empty.items())[:made]) for made in range(len(empty) + 1)]
    for lives in count():
        if change(planted(root), name, lives) == 0:
            print(lives)
            return
        found = repaired(root)
        assert found == after or found in started, (lives, found)
        if name.startswith("parts"):
            assert change(root, name, lives=-1) == 0, "it can be made again"
            assert repaired(root) == after, lives


if __name__ == "__main__":
    main(*sys.argv[1:])
