"""Linux calls that Python lacks: opening a path that leads nowhere else, renaming without replacing
anything, and asking whether something can be read without waiting for the disk.

A read that finds its pages in memory takes microseconds and needs no thread; one that does not
takes milliseconds, and would stop every other transfer if the event loop made it. The kernel says
beforehand which of the two it will be:

- ``openat2(2)`` with RESOLVE_CACHED (Linux 5.12) opens a path only if all of it is in the dentry
  cache, and fails with EAGAIN otherwise;
- ``cachestat(2)`` (Linux 6.5) counts the pages of a range that are in memory.

A kernel without these calls is treated as if it always had to wait, and the caller uses a thread.
``openat2(2)`` (Linux 5.6) also follows no symbolic link and enters no mount on its way, which it
does in one step for the whole path. Their numbers are the same on every architecture that is listed
below. ``renameat2(2)`` has a function in the C library.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from functools import cache

_SYS_OPENAT2 = 437
_SYS_CACHESTAT = 451
_RESOLVE_BENEATH = 0x01 | 0x04 | 0x08
"""RESOLVE_NO_XDEV, RESOLVE_NO_SYMLINKS and RESOLVE_BENEATH."""
_RESOLVE_CACHED = 0x20
_MACHINES = frozenset({"x86_64", "aarch64", "armv7l", "armv8l", "riscv64", "ppc64le", "s390x"})
_PAGE = os.sysconf("SC_PAGESIZE")
_NO_CALL = frozenset({errno.ENOSYS, errno.EINVAL, errno.EPERM})
"""This kernel or its sandbox lacks the call."""
_MOST_ESCAPES = 3
"""How often EXDEV is taken for the trace of a folder that was moved away during the call."""


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class _CachestatRange(ctypes.Structure):
    _fields_ = (("off", ctypes.c_uint64), ("len", ctypes.c_uint64))


class _Cachestat(ctypes.Structure):
    _fields_ = (
        ("nr_cache", ctypes.c_uint64),
        ("nr_dirty", ctypes.c_uint64),
        ("nr_writeback", ctypes.c_uint64),
        ("nr_evicted", ctypes.c_uint64),
        ("nr_recently_evicted", ctypes.c_uint64),
    )


def _syscall() -> ctypes._NamedFuncPointer | None:
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return None
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    return function


_CALL = _syscall()
_RENAMEAT2: ctypes._NamedFuncPointer | None = getattr(
    ctypes.CDLL(None, use_errno=True), "renameat2", None
)
_RENAME_NOREPLACE = ctypes.c_uint(1)
_HOW_SIZE = ctypes.c_size_t(ctypes.sizeof(_OpenHow))
_ZERO = ctypes.c_uint(0)
_OPENAT2 = ctypes.c_long(_SYS_OPENAT2)
_CACHESTAT = ctypes.c_long(_SYS_CACHESTAT)


@cache
def _how(flags: int, resolve: int) -> ctypes._CArgObject:
    return ctypes.byref(_OpenHow(flags | os.O_CLOEXEC, 0, resolve))


def open_cached(root: int, path: bytes, flags: int) -> int | None:
    """Open ``path``, relative to the directory of the descriptor ``root``, like
    :func:`open_beneath`.

    Returns the descriptor, or None if the disk would have to be waited for, or a mount is on the
    way: then open it in a thread. Raises OSError (FileNotFoundError and others) where the kernel
    needs no disk to refuse.
    """
    if _CALL is None:
        return None
    how = _how(flags, _RESOLVE_BENEATH | _RESOLVE_CACHED)
    opened: int = _CALL(_OPENAT2, ctypes.c_int(root), path, how, _HOW_SIZE)
    if opened >= 0:
        return opened
    code = ctypes.get_errno()
    if code == errno.EXDEV or code == errno.EAGAIN or code in _NO_CALL:
        return None
    raise OSError(code, os.strerror(code))


def open_beneath(root: int, path: bytes, flags: int) -> int | None:
    """Open ``path``, relative to the directory of the descriptor ``root`` and never outside of it:
    no symbolic link is followed, and no mount is entered.

    Returns the descriptor, or None where this kernel or its sandbox lacks the call. Raises OSError,
    with ELOOP for a link and EXDEV for a mount.
    """
    if _CALL is None:
        return None
    for _ in range(_MOST_ESCAPES):
        how = _how(flags, _RESOLVE_BENEATH)
        opened: int = _CALL(_OPENAT2, ctypes.c_int(root), path, how, _HOW_SIZE)
        if opened >= 0:
            return opened
        code = ctypes.get_errno()
        if code in _NO_CALL:
            return None
        if code != errno.EXDEV:
            break
    raise OSError(code, os.strerror(code))


def resident(fd: int, start: int, length: int) -> bool:
    """Whether every page of the ``length`` > 0 bytes from byte ``start`` on is in memory now.

    False where the kernel cannot say. The pages may leave the memory a moment later: then a read
    waits for the disk, but is right all the same.
    """
    if _CALL is None:
        return False
    found = _Cachestat()
    asked = _CachestatRange(start, length)
    if _CALL(
        _CACHESTAT,
        ctypes.c_uint(fd),
        ctypes.byref(asked),
        ctypes.byref(found),
        _ZERO,
    ):
        return False
    pages = (start + length - 1) // _PAGE - start // _PAGE + 1
    return int(found.nr_cache) >= pages


def rename_exclusive(source: bytes, within: int, target: bytes, to: int) -> None:
    """Rename ``source`` in the directory of the descriptor ``within`` to ``target`` in that of
    ``to``. Raises FileExistsError if anything is there, and other errors like ``os.rename``.

    Where the kernel, the C library or the file system cannot do it, a plain rename is made: the
    caller has looked beforehand whether anything is there.
    """
    if _RENAMEAT2 is not None:
        ends = (ctypes.c_int(within), source, ctypes.c_int(to), target)
        if _RENAMEAT2(*ends, _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in _NO_CALL:
            raise OSError(code, os.strerror(code))
    os.rename(source, target, src_dir_fd=within, dst_dir_fd=to)
