"""How a request says that it brings only a part of a file. Pure.

An upload here is a whole file, so a part would replace the whole by itself. Each protocol for parts
has its own way to say so, and a server that does not know it sees an ordinary PUT or POST. The ones
that are in use are known here, to be refused: they do not name the same thing, but none of them is
sent by a client that means a whole file and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

from multidict import CIMultiDictProxy

from sfs_server.errors import Problem

FIELDS = (
    # Resumable uploads for HTTP (draft-ietf-httpbis-resumable-upload), in all its versions.
    "Upload-Complete",
    "Upload-Incomplete",
    "Upload-Draft-Interop-Version",
    "Upload-Offset",
    "Upload-Length",
    # tus 1.0.0
    "Tus-Resumable",
    "Upload-Concat",
    "Upload-Defer-Length",
    # SabreDAV, ownCloud, Google, the upload module of nginx
    "X-Update-Range",
    "OC-Chunked",
    "X-Goog-Upload-Offset",
    "X-Content-Range",
)

PARAMETERS = frozenset(
    {
        *("partnumber", "uploadid"),  # of S3
        *("blockid", "appendpos"),  # of Azure
        *("resumablechunknumber", "flowchunknumber"),  # of Resumable.js, Flow.js
        *("dzchunkindex", "qqpartindex", "chunks"),  # of Dropzone, Fine Uploader, Plupload
    }
)
"""In a query, or as fields of a form; in lower case."""


def refuse_part(headers: CIMultiDictProxy[str]) -> None:
    """Raise Problem 400 or 501 if the header of a request says that its body is a part of a
    file."""
    if "Content-Range" in headers:  # RFC 9110 §14.5
        raise Problem(400, "An upload is a whole file: send it without Content-Range.")
    for field in FIELDS:
        if field in headers:
            raise _not_a_whole(field)


def refuse_parameters(names: Iterable[str]) -> None:
    """Raise Problem 501 if one of the ``names``, of the parameters of a request's query or of the
    fields of its form, is of a protocol that sends files in parts."""
    for name in names:
        if name.lower() in PARAMETERS:
            raise _not_a_whole(name)


def _not_a_whole(name: str) -> Problem:
    return Problem(
        501,
        f"An upload is a whole file: send it in one request, not in parts, and without {name}.",
    )
