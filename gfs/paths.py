"""The names of directories and uploads, the paths of files and folders, the id of a store. Pure.

A path is 1 to MAX_SEGMENTS segments joined by ``/``. A segment is compared byte for byte in UTF-8.
Every engine, and a shell on the machine, can use what these rules allow: nothing that leads to
another directory (``.``, ``..``, a separator), nothing that a log does not show (control
characters, white space at the ends).
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from functools import lru_cache

from gfs.errors import InvalidName, StoreUnavailable

MAX_NAME_BYTES = 255
"""The longest segment, the name of a file or folder, in bytes of UTF-8: NAME_MAX of the usual file
systems."""

MAX_DIRECTORY_CHARACTERS = 63
"""The longest name of a directory, in characters, which are ASCII."""

MAX_SEGMENTS = 32
"""The most segments of a path."""

MAX_PATH_BYTES = 1024
"""The longest path, in bytes of UTF-8, with its slashes."""

STORE_ID_DIGITS = 32
"""The length of a store's id, in hexadecimal digits."""

UPLOAD_DIGITS = 32
"""The length of the name of a version that is made in parts, in hexadecimal digits."""

_DIRECTORY = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_DIRECTORY_CHARACTERS}}}")


@lru_cache(1024)
def check_directory(directory: str) -> str:
    """Return ``directory`` if it can name a directory, else raise InvalidName with the rule."""
    if directory in (".", "..") or _DIRECTORY.fullmatch(directory) is None:
        raise InvalidName(
            f"a namespace name has 1 to {MAX_DIRECTORY_CHARACTERS} characters of "
            "A-Z a-z 0-9 . _ - and is not '.' or '..'"
        )
    return directory


@lru_cache(4096)
def check_name(name: str) -> str:
    """Return ``name`` if it can name a file, else raise InvalidName with the rule."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidName("a file name must be valid UTF-8") from None
    if not 1 <= length <= MAX_NAME_BYTES:
        raise InvalidName(f"a file name has 1 to {MAX_NAME_BYTES} bytes in UTF-8, not {length}")
    if name in (".", ".."):
        raise InvalidName("a file name is not '.' or '..'")
    if "/" in name or "\\" in name:
        raise InvalidName("a file name contains no slash and no backslash")
    if not name.isprintable() and any(unicodedata.category(c) == "Cc" for c in name):
        raise InvalidName("a file name contains no control characters")
    if name != name.strip():
        raise InvalidName("a file name has no white space at its ends")
    return name


@lru_cache(4096)
def check_path(path: str) -> str:
    """Return ``path`` if it can be that of a file or folder, else raise InvalidName with the
    rule."""
    segments = path.split("/")
    for segment in segments:
        check_name(segment)
    if len(segments) > MAX_SEGMENTS:
        raise InvalidName(f"a path has at most {MAX_SEGMENTS} segments, not {len(segments)}")
    length = len(path.encode())
    if length > MAX_PATH_BYTES:
        raise InvalidName(f"a path has at most {MAX_PATH_BYTES} bytes in UTF-8, not {length}")
    return path


def parents(path: str) -> list[str]:
    """The paths of the folders that ``path`` is in, the outermost first; [] at the top."""
    segments = path.split("/")
    return ["/".join(segments[:count]) for count in range(1, len(segments))]


def within(path: str, folder: str) -> bool:
    """Whether ``path`` is ``folder`` or somewhere below it; everything is below ""."""
    return not folder or path == folder or path.startswith(f"{folder}/")


def check_upload(upload: str) -> str:
    """Return ``upload`` if it can name a version that is made in parts, else raise InvalidName."""
    if re.fullmatch(f"[0-9a-f]{{{UPLOAD_DIGITS}}}", upload) is None:
        raise InvalidName(f"an upload is named by {UPLOAD_DIGITS} hexadecimal digits")
    return upload


def new_store_id() -> str:
    """A random id for a new store."""
    return secrets.token_hex(STORE_ID_DIGITS // 2)


def check_store_id(text: str) -> str:
    """Return ``text`` if it can be the id of a store, else raise StoreUnavailable."""
    if re.fullmatch(f"[0-9a-f]{{{STORE_ID_DIGITS}}}", text) is None:
        raise StoreUnavailable("the id of the store is damaged; delete it to get a new one")
    return text
