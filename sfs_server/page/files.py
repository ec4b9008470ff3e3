"""The files of the web page, read once at the start and held in memory.

A path of a request is a key of a dict here and never becomes a path of the machine, so that none
can lead out of the directory. Text is compressed once, as tightly as gzip can. A page is small: a
directory of more than MOST_FILES files or MOST_BYTES bytes is not one, and refused.

Caching. One hash over all the files is the *version* of the page. Each file can be had under two
paths: ``/app.css``, which a browser must ask about again each time (ETag, 304), and
``/@VERSION/app.css``, which it may keep for ever. Where ``index.html`` says ``"/@/app.css"`` the
version is put in; modules and style sheets refer to each other by relative paths, and so stay under
it. A page that does not know of this is served as well, always by the first kind of path.

The packaged page is sent without what only its readers need: comments, types in the middle of a
line, and indentation are a third of it. Every line keeps its number.

The version of another page (of the next release, while processes are replaced one by one) gets
the file of this one, not to be kept.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gfs.types import FileInfo
from sfs_server.config import ConfigError
from sfs_server.http import content_type

MOST_FILES = 10_000
MOST_BYTES = 64 * 1024 * 1024
"""What a page may have, uncompressed."""

INDEX = "index.html"
PACKAGED = os.path.join(os.path.dirname(__file__), "static")
"""The page that ships inside the package."""

PACKAGED_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""All that the packaged page needs: its own files, the API, and frames that show and save files."""

_PLACEHOLDER = b'"/@/'
_FOR_READERS = re.compile(
    rb"^[ \t]*(?://.*|/\*(?:[^*]|\*(?!/))*\*/)[ \t]*$"  # whole lines of a comment
    rb"|/\*\* @type (?:[^*\n]|\*(?!/))*\*/ ?"  # the type of what stands behind it
    rb"|^[ \t]+",
    re.MULTILINE,
)
"""In a text over several lines these would mean something; the packaged page has no such text but
markup of htm, which drops them as well."""
_INCOMPRESSIBLE = ("image/", "video/", "audio/", "font/woff", "application/zip", "application/gzip")
_SMALL = 256
"""Bytes below which compression gains nothing."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One file in one content coding: its bytes, and what conditions compare."""

    body: bytes = field(repr=False)
    info: FileInfo
    coding: str | None


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file. ``packed`` is None where gzip does not make it smaller."""

    media_type: str
    plain: Variant
    packed: Variant | None


@dataclass(frozen=True, slots=True)
class StaticFiles:
    """All files, by the path under the directory, and the version of the whole.

    ``policy`` is the Content-Security-Policy of the page, None where it brings its own.
    """

    files: Mapping[str, StaticFile] = field(repr=False)
    version: str
    policy: str | None

    def find(self, path: str) -> tuple[StaticFile | None, bool]:
        """The file at a decoded ``path`` of a URL, and whether it may be kept for ever."""
        name = path.removeprefix("/")
        if name.endswith("/") or not name:
            name += INDEX
        found = self.files.get(name)
        if found is None and name.startswith("@"):
            version, _, name = name[1:].partition("/")
            return self.files.get(name), version == self.version
        return found, False

    @property
    def index(self) -> StaticFile:
        """What a path shows that the page itself has to make sense of."""
        return self.files[INDEX]


def load(directory: str | None) -> StaticFiles:
    """Read ``directory``, or the packaged page for None. Raises ConfigError where it is no page."""
    root = PACKAGED if directory is None else directory
    try:
        bodies = dict(_read(root))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(f"-static cannot be read: {reason}.") from error
    if INDEX not in bodies:
        raise ConfigError(f"-static is a directory with an {INDEX} in it; this one has none.")
    digest = hashlib.sha256()
    for name, body in sorted(bodies.items()):
        digest.update(b"%b\0%d\0%b" % (os.fsencode(name), len(body), body))
    version = digest.hexdigest()[:16]
    bodies[INDEX] = bodies[INDEX].replace(_PLACEHOLDER, b'"/@%b/' % version.encode())
    if directory is None:
        bodies = {name: _for_browsers(name, body) for name, body in bodies.items()}
    return StaticFiles(
        files={name: _prepare(name, body) for name, body in bodies.items()},
        version=version,
        policy=PACKAGED_POLICY if directory is None else None,
    )


def _read(root: str) -> Iterator[tuple[str, bytes]]:
    """The files under ``root`` that may be shown: nothing whose name starts with a dot. A link to a
    file is followed (a ConfigMap is mounted so), one to a directory is not."""
    count = size = 0
    waiting = [""]
    while waiting:
        place = waiting.pop()
        with os.scandir(os.path.join(root, place)) as entries:
            for entry in entries:
                name = f"{place}{entry.name}"
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
                elif entry.is_file():
                    count += 1
                    size += entry.stat().st_size
                    if count > MOST_FILES or size > MOST_BYTES:
                        raise ConfigError(
                            f"-static is the directory of a web page: at most {MOST_FILES} files "
                            f"and {MOST_BYTES // 1024 // 1024} MiB, which are held in memory."
                        )
                    with open(entry.path, "rb") as file:
                        yield name, file.read()


def _for_browsers(name: str, body: bytes) -> bytes:
    if not name.endswith((".js", ".css")):
        return body
    return _FOR_READERS.sub(lambda found: b"\n" * found[0].count(b"\n"), body)


def _prepare(name: str, body: bytes) -> StaticFile:
    media_type = content_type(name)
    tag = hashlib.sha256(body).hexdigest()[:32]
    packed = None
    if len(body) >= _SMALL and (not media_type.startswith(_INCOMPRESSIBLE) or "svg" in media_type):
        smaller = gzip.compress(body, 9, mtime=0)
        if len(smaller) < len(body):
            packed = _variant(name, smaller, f"{tag}-gzip", "gzip")
    return StaticFile(media_type, _variant(name, body, tag, None), packed)


def _variant(name: str, body: bytes, tag: str, coding: str | None) -> Variant:
    return Variant(body, FileInfo("", name, len(body), tag, 0, 0), coding)
