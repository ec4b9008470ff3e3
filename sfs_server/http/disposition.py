"""What follows from a file's name: how it is saved, its media type, and whether that may run
script. Pure.

``Content-Disposition`` (RFC 6266) gives the name twice: ``filename*`` is exact, in UTF-8 with
percent-encoding (RFC 8187 §3.2); ``filename`` is for clients that do not know it, reduced to what
every one of them reads alike (RFC 6266 §4.3, appendix D): printable ASCII in a quoted-string, and
nothing that some of them would decode as a percent-encoded byte.

``Content-Type`` comes from the last extension, in any case, by Python's built-in table and the one
below it. The machine's own tables (``/etc/mime.types``, the registry) are not used, and where the
built-in tables of Python 3.11 to 3.14 differ, the one below decides, so that one file has one type
on every server. A compressed file is of its compression's type and never has a
``Content-Encoding``, which would have the client store other bytes than were uploaded.
"""

from __future__ import annotations

import mimetypes
import posixpath
import re
from functools import lru_cache
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote

UNKNOWN = "application/octet-stream"
"""The type of a file whose extension says nothing."""

_TYPES_BEYOND_PYTHON = {
    "application/atom+xml": ".atom",
    "application/epub+zip": ".epub",
    "application/gzip": ".gz .tgz .taz .tz .svgz",
    "application/java-archive": ".jar",
    "application/jsonl": ".jsonl .ndjson",
    "application/mathml+xml": ".mathml",
    "application/ogg": ".ogx",
    "application/rss+xml": ".rss",
    "application/rtf": ".rtf",
    "application/sql": ".sql",
    "application/texinfo": ".texi .texinfo",
    "application/toml": ".toml",
    "application/vnd.android.package-archive": ".apk",
    "application/vnd.ms-fontobject": ".eot",
    "application/vnd.oasis.opendocument.graphics": ".odg",
    "application/vnd.oasis.opendocument.presentation": ".odp",
    "application/vnd.oasis.opendocument.spreadsheet": ".ods",
    "application/vnd.oasis.opendocument.text": ".odt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.rar": ".rar",
    "application/vnd.sqlite3": ".sqlite .sqlite3",
    "application/x-7z-compressed": ".7z",
    "application/x-brotli": ".br",
    "application/x-bzip2": ".bz2 .tbz2",
    "application/x-compress": ".z",
    "application/x-debian-package": ".deb",
    "application/x-httpd-php": ".php",
    "application/x-rpm": ".rpm",
    "application/x-xz": ".xz .txz",
    "application/xhtml+xml": ".xhtml .xht",
    "application/xml": ".xsd",
    "application/xslt+xml": ".xslt",
    "application/yaml": ".yaml .yml",
    "application/zstd": ".zst .tzst",
    "audio/flac": ".flac",
    "audio/matroska": ".mka",
    "audio/midi": ".mid .midi",
    "audio/mp4": ".m4a",
    "audio/ogg": ".ogg .oga",
    "audio/wav": ".wav",
    "audio/webm": ".weba",
    "font/otf": ".otf",
    "font/ttf": ".ttf",
    "font/woff": ".woff",
    "font/woff2": ".woff2",
    "image/emf": ".emf",
    "image/fits": ".fits",
    "image/g3fax": ".g3",
    "image/jp2": ".jp2",
    "image/jpm": ".jpm",
    "image/jpx": ".jpx",
    "image/jxl": ".jxl",
    "image/t38": ".t38",
    "image/tiff-fx": ".tfx",
    "image/webp": ".webp",
    "image/wmf": ".wmf",
    "model/gltf+json": ".gltf",
    "model/gltf-binary": ".glb",
    "model/stl": ".stl",
    "text/calendar": ".ics",
    "text/javascript": ".js .mjs .cjs",
    "text/markdown": ".md .markdown",
    "text/plain": ".log .ini .cfg .conf .diff .patch",
    "text/x-rst": ".rst",
    "video/matroska": ".mkv",
    "video/matroska-3d": ".mk3d",
    "video/ogg": ".ogv",
    "video/x-m4v": ".m4v",
    "video/x-ms-wmv": ".wmv",
    "video/x-msvideo": ".avi",
}
"""Types, and the extensions that have them here, whatever Python's table says."""


def _table() -> MappingProxyType[str, str]:
    """Every extension, in lower case with its dot, and the whole ``Content-Type`` it stands for."""
    types = dict(mimetypes.MimeTypes(filenames=()).types_map[True])
    for media_type, extensions in _TYPES_BEYOND_PYTHON.items():
        types.update(dict.fromkeys(extensions.split(), media_type))
    return MappingProxyType(
        {
            extension: f"{media_type}; charset=utf-8"
            if media_type.startswith("text/")
            else media_type
            for extension, media_type in types.items()
        }
    )


_CONTENT_TYPES = _table()

_ACTIVE = frozenset(("text/html", "text/xml", "text/xsl", "application/xml"))

_NOT_PRINTABLE_ASCII = re.compile(r"[^ -~]")
_LOOKS_ENCODED = re.compile(r"%(?=[0-9A-Fa-f]{2})")
_QUOTED_PAIRS = re.compile(r'(["\\])')

_ATTR_CHARS = "!#$&+-.^_`|~"
"""RFC 8187 §3.2.1: what stands for itself in ``filename*``, besides letters and digits."""


@lru_cache(maxsize=4096)
def content_disposition(kind: Literal["inline", "attachment"], name: str) -> str:
    """The ``Content-Disposition`` that shows or saves a file under its ``name``.

    Any text will do for a name: the result is printable ASCII. In the fallback each other character
    is an underscore, and so is a ``%`` before two hexadecimal digits. Raises UnicodeEncodeError for
    a lone surrogate, which no valid name has.
    """
    fallback = _LOOKS_ENCODED.sub("_", _NOT_PRINTABLE_ASCII.sub("_", name))
    quoted = _QUOTED_PAIRS.sub(r"\\\1", fallback)
    return f"{kind}; filename=\"{quoted}\"; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def content_type(name: str) -> str:
    """The ``Content-Type`` of a file called ``name``.

    ``text/*`` carries ``charset=utf-8``. A name without an extension, such as ``.html``, and one
    with an unknown extension are :data:`UNKNOWN`.
    """
    return _CONTENT_TYPES.get(posixpath.splitext(name)[1].lower(), UNKNOWN)


@lru_cache(maxsize=256)
def active(content_type: str) -> bool:
    """Whether a browser that shows this ``Content-Type`` may run script from it: HTML, and XML of
    any kind (XHTML, SVG, XSLT), as the WHATWG MIME Sniffing standard defines them."""
    essence = content_type.partition(";")[0].strip().lower()
    return essence in _ACTIVE or essence.endswith("+xml")
