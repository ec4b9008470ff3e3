"""Freeing the space of removed directories: everything below ``~trash``.

A removed directory may hold anything, since an administrator may put anything there: trees of any
depth, links, mount points, files that this process may not remove. Therefore

- a sub-directory is moved up into ``~trash`` before it is emptied, which needs no recursion and one
  open descriptor, whatever the depth;
- no link is followed, and no mount point is entered, since rename(2) and rmdir(2) refuse one;
- what cannot be removed is reported and left, and the rest is removed all the same. The next call,
  after another removal or at the next start, tries it again.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from gfs.embedded.oserrors import DIRECTORY_FLAGS, reason

MAX_NAMED = 3
"""How many of the things that cannot be removed are named; the others are counted."""

REMEDIES = {
    errno.EACCES: "remove it as root, or give it to the user of the service",
    errno.EPERM: "remove it as root, after chattr -i where it is immutable",
    errno.EBUSY: "unmount it",
    errno.EROFS: "mount the disk for writing",
}


def scratch_name() -> str:
    """A random name for something in ``~tmp`` or ``~trash``."""
    return secrets.token_hex(16)


@dataclass(slots=True)
class Leftovers:
    """What could not be removed: how many things, and the first of them with the reasons."""

    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, place: str, error: OSError) -> None:
        """Note that ``place``, a path within the store, could not be removed."""
        self.count += 1
        if self.count <= MAX_NAMED:
            remedy = REMEDIES.get(error.errno or 0, "remove it by hand")
            shown = place.encode("utf-8", "backslashreplace").decode()
            self.named.append(f"{shown} ({reason(error)}: {remedy})")

    def __str__(self) -> str:
        more = f" and {self.count - MAX_NAMED} more" if self.count > MAX_NAMED else ""
        return ", ".join(self.named) + more


def empty(trash: int, goes_on: Callable[[], bool] = lambda: True) -> Leftovers:
    """Remove everything in the directory of the descriptor ``trash``, for as long as ``goes_on``
    returns True.

    Blocks, perhaps for long. Only one call at a time for one directory. Raises OSError if ``trash``
    itself cannot be read.
    """
    left = Leftovers()
    waiting = os.listdir(trash)
    while waiting and goes_on():
        name = waiting.pop()
        try:
            found = os.stat(name, dir_fd=trash, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                _empty_directory(trash, name, waiting, left, goes_on)
            else:
                os.unlink(name, dir_fd=trash)
        except FileNotFoundError:
            continue
        except OSError as error:
            left.add(f"~trash/{name}", error)
    return left


def _empty_directory(
    trash: int, name: str, waiting: list[str], left: Leftovers, goes_on: Callable[[], bool]
) -> None:
    """Remove the directory ``name`` in ``trash``. Its sub-directories are moved to ``trash``, and
    their names there are added to ``waiting``. Raises OSError if it cannot be opened, or cannot be
    removed though it is empty."""
    _make_writable(name, trash)
    directory = os.open(name, DIRECTORY_FLAGS, dir_fd=trash)
    before = left.count
    try:
        removed = True
        while removed and goes_on():
            removed = False  # a scan may miss entries while others are removed: scan again
            with os.scandir(directory) as entries:
                for entry in entries:
                    if not goes_on():
                        return
                    try:
                        _remove(directory, entry, trash, waiting)
                        removed = True
                    except OSError as error:
                        left.add(f"~trash/{name}/{entry.name}", error)
            removed = removed and left.count == before
    finally:
        os.close(directory)
    if left.count == before:
        os.rmdir(name, dir_fd=trash)


def _remove(directory: int, entry: os.DirEntry[str], trash: int, waiting: list[str]) -> None:
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.name, dir_fd=directory)
        return
    try:
        os.rmdir(entry.name, dir_fd=directory)  # an empty one may belong to another user
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _make_writable(entry.name, directory)
        moved = scratch_name()
        os.rename(entry.name, moved, src_dir_fd=directory, dst_dir_fd=trash)
        waiting.append(moved)


def _make_writable(name: str, within: int) -> None:
    """Let this process remove what is in a directory of its own: a copied one may be read-only."""
    with suppress(OSError):
        os.chmod(name, 0o700, dir_fd=within)
