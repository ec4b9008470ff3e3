"""Freeing what removed directories hold: everything below ``~trash``.

What is in there may be anything, since an administrator may put anything below a namespace: trees
of any depth, links, mount points, files that this process may not remove. So

- a sub-directory is moved up into ``~trash`` before it is emptied: no recursion, one open
  descriptor, whatever the depth;
- no link is followed, and no mount point is entered: neither rename(2) nor rmdir(2) takes one;
- what cannot be removed is named and left, and the sweep goes on behind it. Whoever calls next, for
  another removal or at the next start, tries it again.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from gfs.embedded.border import DIRECTORY_FLAGS, reason

MOST_NAMED = 3

REMEDIES = {
    errno.EACCES: "remove it as root, or give it to the user of the service",
    errno.EPERM: "remove it as root, after chattr -i where it is immutable",
    errno.EBUSY: "unmount it",
    errno.EROFS: "mount the disk for writing",
}


def scratch_name() -> str:
    """A name in ``~tmp`` or ``~trash`` that nothing has."""
    return secrets.token_hex(16)


@dataclass(slots=True)
class Left:
    """What could not be removed: how many things, and the first of them with the reason."""

    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, place: str, error: OSError) -> None:
        """Note that ``place``, a path below the root of the store, is still there."""
        self.count += 1
        if self.count <= MOST_NAMED:
            remedy = REMEDIES.get(error.errno or 0, "remove it by hand")
            shown = place.encode("utf-8", "backslashreplace").decode()
            self.named.append(f"{shown} ({reason(error)}: {remedy})")

    def __str__(self) -> str:
        more = f" and {self.count - MOST_NAMED} more" if self.count > MOST_NAMED else ""
        return ", ".join(self.named) + more


def empty(trash: int, goes_on: Callable[[], bool] = lambda: True) -> Left:
    """Remove all that is in the directory of the descriptor ``trash``, for as long as ``goes_on``.

    Blocks; may take long. Only one call at a time for one directory. Raises OSError where
    ``trash`` itself cannot be read.
    """
    left = Left()
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
    trash: int, name: str, waiting: list[str], left: Left, goes_on: Callable[[], bool]
) -> None:
    """Remove the directory ``name`` in ``trash``, and add to ``waiting`` what is moved out of it.
    Raises OSError where it cannot be opened, or removed though nothing in it was left."""
    _let_in(name, trash)
    directory = os.open(name, DIRECTORY_FLAGS, dir_fd=trash)
    before = left.count
    try:
        removed = True
        while removed and goes_on():
            removed = False  # a scan may miss entries while others are removed: look once more
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
        os.rmdir(entry.name, dir_fd=directory)  # an empty one may be somebody else's
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _let_in(entry.name, directory)
        moved = scratch_name()
        os.rename(entry.name, moved, src_dir_fd=directory, dst_dir_fd=trash)
        waiting.append(moved)


def _let_in(name: str, within: int) -> None:
    """Make a directory that is ours fit to be emptied: what was copied may be read-only."""
    with suppress(OSError):
        os.chmod(name, 0o700, dir_fd=within)
