"""Protocols that upload a file in parts, so that they can be refused. Pure.

The body of a PUT or POST is a whole file: a part would be stored in the place of the whole. To a
server that does not know such a protocol, its requests look like an ordinary PUT or POST. Each one
marks them by header fields or parameters of its own. The marks of those in use are listed here; no
client that sends a whole file uses any of them. Those of tus, which is not refused
(:mod:`sfs_server.http.tus`), are among them for requests that it does not have, such as a PUT.
"""

from __future__ import annotations

from collections.abc import Iterable

from multidict import MultiMapping

from sfs_server.errors import Problem

DRAFT_FIELDS = ("Upload-Complete", "Upload-Incomplete", "Upload-Draft-Interop-Version")
"""Header fields that only resumable uploads for HTTP (draft-ietf-httpbis-resumable-upload) have, in
all versions of the draft."""

FIELDS = (
    # The draft again, and tus 1.0.0
    "Upload-Offset",
    "Upload-Length",
    "Tus-Resumable",
    "Upload-Concat",
    "Upload-Defer-Length",
    # SabreDAV, ownCloud, Google, the upload module of nginx
    "X-Update-Range",
    "OC-Chunked",
    "X-Goog-Upload-Offset",
    "X-Content-Range",
)
"""Header fields that only such protocols send."""

PARAMETERS = frozenset(
    {
        *("partnumber", "uploadid"),  # of S3
        *("blockid", "appendpos"),  # of Azure
        *("resumablechunknumber", "flowchunknumber"),  # of Resumable.js, Flow.js
        *("dzchunkindex", "qqpartindex", "chunks"),  # of Dropzone, Fine Uploader, Plupload
    }
)
"""Parameters of a query, or fields of a form, in lower case, that only such protocols send."""


def refuse_part(headers: MultiMapping[str]) -> None:
    """Raise Problem 400 or 501 if its ``headers`` say that the body of a request is a part of a
    file."""
    if "Content-Range" in headers:  # RFC 9110 §14.5
        raise Problem(400, "An upload is a whole file: send it without Content-Range.")
    refuse_draft(headers)
    for field in FIELDS:
        if field in headers:
            raise _not_a_whole(field)


def refuse_draft(headers: MultiMapping[str]) -> None:
    """Raise Problem 501 if a request with ``headers`` is one of DRAFT_FIELDS' protocol."""
    for field in DRAFT_FIELDS:
        if field in headers:
            raise Problem(
                501,
                f"Resumable uploads with {field}, of the IETF's draft, are not supported: send the "
                "file as a whole without it, or in parts by tus 1.0.0.",
            )


def refuse_parameters(names: Iterable[str]) -> None:
    """Raise Problem 501 if one of the ``names`` of the parameters in a request's query, or of the
    fields of its form, is used by a protocol that sends files in parts."""
    for name in names:
        if name.lower() in PARAMETERS:
            raise _not_a_whole(name)


def _not_a_whole(name: str) -> Problem:
    return Problem(
        501,
        f"An upload is a whole file: send it in one request, not in parts, and without {name}.",
    )
