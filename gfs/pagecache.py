"""What can be had without waiting for the disk: two Linux calls that Python does not offer.

A read that finds its pages in memory takes microseconds and needs no thread; one that does not
takes milliseconds and would stop every other transfer if the event loop made it. The kernel can
tell the two apart beforehand:

- ``openat2(2)`` with RESOLVE_CACHED (Linux 5.12) opens a path only if all of it is in the dentry
  cache, and says EAGAIN otherwise;
- ``cachestat(2)`` (Linux 6.5) counts the pages of a range that are in memory.

Where they are missing, the answer is "would have to wait", and the caller uses a thread. Their
system call numbers are the same on every architecture that is listed below.
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
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE_CACHED = 0x20
_MACHINES = frozenset({"x86_64", "aarch64", "armv7l", "armv8l", "riscv64", "ppc64le", "s390x"})
_PAGE = os.sysconf("SC_PAGESIZE")


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
_HOW_SIZE = ctypes.c_size_t(ctypes.sizeof(_OpenHow))
_ZERO = ctypes.c_uint(0)
_OPENAT2 = ctypes.c_long(_SYS_OPENAT2)
_CACHESTAT = ctypes.c_long(_SYS_CACHESTAT)


@cache
def _how(flags: int) -> ctypes._CArgObject:
    resolve = _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH | _RESOLVE_CACHED
    return ctypes.byref(_OpenHow(flags | os.O_CLOEXEC, 0, resolve))


def open_cached(root: int, path: bytes, flags: int) -> int | None:
    """Open ``path``, relative to the descriptor ``root`` and never outside of it.

    Returns the descriptor, or None if that cannot be done without waiting: try again in a thread.
    Raises OSError (FileNotFoundError and so on) where the answer is known.
    """
    if _CALL is None:
        return None
    opened: int = _CALL(_OPENAT2, ctypes.c_int(root), path, _how(flags), _HOW_SIZE)
    if opened >= 0:
        return opened
    code = ctypes.get_errno()
    if code in (errno.EAGAIN, errno.ENOSYS, errno.EINVAL, errno.EPERM):
        return None  # not in memory; or this kernel or its sandbox does not have the call
    raise OSError(code, os.strerror(code))


def resident(fd: int, start: int, length: int) -> bool:
    """Whether every page of ``length`` > 0 bytes from ``start`` on is in memory now.

    False where the kernel cannot tell. The pages may be gone a moment later: this is a hint about
    time, never about truth.
    """
    if _CALL is None:
        return False
    answer = _Cachestat()
    asked = _CachestatRange(start, length)
    if _CALL(
        _CACHESTAT,
        ctypes.c_uint(fd),
        ctypes.byref(asked),
        ctypes.byref(answer),
        _ZERO,
    ):
        return False
    pages = (start + length - 1) // _PAGE - start // _PAGE + 1
    return int(answer.nr_cache) >= pages
