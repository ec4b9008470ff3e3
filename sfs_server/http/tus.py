"""The header fields of tus 1.0.0, the protocol of uploads that can be resumed. Pure.

https://tus.io/protocols/resumable-upload. A client creates an upload by a POST (``creation``), adds
bytes by PATCH requests, each of which says at which offset its bytes belong (``patch``), and asks
by HEAD how many have been stored. Each of its requests but OPTIONS carries ``Tus-Resumable``
(``require_version``).

Fields are read strictly: what the protocol does not allow is refused with a sentence that says what
to send, and never guessed, because a wrong guess stores bytes at a wrong place or a file under a
wrong name. A field that stands in several lines is one that was given twice, except for
``Upload-Metadata``, which is a list.

Two things are done that other programs need, each seen in one of them. An ``Upload-Metadata``
without anything in it is one that is not there (tuspy). A ``relativePath`` of ``null`` or
``undefined`` is one that is not there: it is how JavaScript writes a value that is missing (Uppy).

One thing of the protocol is left out: of its checksums it asks for ``sha1``, with which a file can
be made that passes for another one. Only ``sha256`` is offered.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from multidict import MultiMapping

from gfs.errors import InvalidName
from gfs.paths import check_name, check_path
from sfs_server.errors import CHECKSUM_MISMATCH, Problem
from sfs_server.http.codings import refuse_coding
from sfs_server.http.dialects import refuse_draft
from sfs_server.http.digests import promised_sha256, refuse_trailer
from sfs_server.http.sizes import size_of

VERSION = "1.0.0"
"""The version of the protocol, the only one that is spoken."""

EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "termination",
    "checksum",
)
"""The extensions of the protocol that are offered."""

ALGORITHM = "sha256"
"""The algorithm of ``Upload-Checksum``, the only one that is offered."""

CONTENT_TYPE = "application/offset+octet-stream"
"""The type of a body that has bytes of the file."""

REQUEST_FIELDS = (
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
)
"""What a client may send. ``Upload-Concat`` is among them so that a page gets the refusal."""

RESPONSE_FIELDS = (
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Defer-Length",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
)
"""What a client may read."""

MAX_METADATA_CHARACTERS = 4096
"""Characters of an ``Upload-Metadata``: two paths of the greatest length in base64, and as much
again for what else a client says."""

MAX_METADATA_PAIRS = 32
"""Pairs of an ``Upload-Metadata``. Uppy sends eight."""

_PAIR = re.compile(r"(?P<key>[!-+\--~]+)(?: (?P<value>[A-Za-z0-9+/]+={0,2}))?")
"""A key is printable ASCII without a space or a comma; a value is base64."""

_MISSING = frozenset({"", "null", "undefined"})


@dataclass(frozen=True, slots=True)
class Creation:
    """What the POST that creates an upload says of it."""

    length: int | None
    """The bytes of the file; None if ``deferred``."""
    deferred: bool
    """Whether a later PATCH says the length."""
    metadata: Mapping[str, str]
    """What ``Upload-Metadata`` says, decoded."""
    raw: str
    """``Upload-Metadata`` as a HEAD repeats it: printable ASCII; "" if there was none."""
    checksum: bytes | None
    """The SHA-256 that the body of this request must have; None if it does not say."""
    digest: bytes | None
    """The SHA-256 that the whole file must have, by ``Repr-Digest``; None if it does not say."""


@dataclass(frozen=True, slots=True)
class Patch:
    """What a PATCH says of its bytes."""

    offset: int
    """Where in the file they belong."""
    length: int | None
    """The bytes of the file; None if this request does not say."""
    checksum: bytes | None
    """The SHA-256 that the bytes must have; None if it does not say."""


def requested(headers: MultiMapping[str]) -> bool:
    """Whether a request with ``headers`` is one of this protocol."""
    return "Tus-Resumable" in headers


def require_version(headers: MultiMapping[str]) -> None:
    """Raise Problem 412 unless a request says that it is of this protocol, in VERSION; Problem 501
    if it is one of the IETF's draft, whose fields have similar names."""
    refuse_draft(headers)
    said = headers.getall("Tus-Resumable", ())
    if [version.strip() for version in said] != [VERSION]:
        raise Problem(
            412,
            f"Send Tus-Resumable: {VERSION}, the version of tus that is spoken here.",
            {"Tus-Version": VERSION},
        )


def creation(headers: MultiMapping[str]) -> Creation:
    """What the ``headers`` of the POST that creates an upload say. Raises Problem 400, 415, 501 and
    those of ``require_version``."""
    require_version(headers)
    if "Upload-Concat" in headers:
        raise Problem(501, "An upload cannot be put together of others: send it as one.")
    if "Transfer-Encoding" in headers or headers.get("Content-Length", "0").strip("0 "):
        _require_type(headers)
    length, deferred = _size(headers, "Upload-Length"), _one(headers, "Upload-Defer-Length")
    if deferred not in (None, "1"):
        raise Problem(400, "Upload-Defer-Length is 1, or is left out.")
    if (length is None) == (deferred is None):
        raise Problem(
            400,
            "Send Upload-Length, or Upload-Defer-Length: 1 where it is not known yet, not both.",
        )
    raw = ",".join(headers.getall("Upload-Metadata", ())).strip()
    digests = headers.getall("Repr-Digest", ())
    return Creation(
        length,
        deferred is not None,
        _metadata(raw),
        raw,
        _checksum(headers),
        promised_sha256("Repr-Digest", digests),
    )


def patch(headers: MultiMapping[str]) -> Patch:
    """What the ``headers`` of a PATCH say. Raises Problem 400, 415 and those of
    ``require_version``."""
    require_version(headers)
    _require_type(headers)
    if "Content-Range" in headers:
        raise Problem(400, "Say by Upload-Offset where the bytes belong, without Content-Range.")
    offset = _size(headers, "Upload-Offset")
    if offset is None:
        raise Problem(400, "Send Upload-Offset: where in the file the bytes belong, as HEAD says.")
    # A Repr-Digest is that of the whole file, which the POST has announced: clients that are given
    # a field send it with each request.
    return Patch(offset, _size(headers, "Upload-Length"), _checksum(headers))


def relative_path(metadata: Mapping[str, str]) -> str:
    """The path of the file in the folder in which the upload is created: ``relativePath`` if that
    is there, else ``filename``. Raises Problem 400 if neither is, or if no file can have it."""
    for key, check in (("relativePath", check_path), ("filename", check_name)):
        said = metadata.get(key, "")
        if said not in _MISSING:
            try:
                return check(said)
            except InvalidName as error:
                raise Problem(
                    400, f"The {key} of Upload-Metadata cannot be used: {error}."
                ) from None
    raise Problem(
        400,
        "Name the file: Upload-Metadata: filename BASE64, or relativePath BASE64 for one in a "
        "folder; or end the path of the request with its name.",
    )


def checksum_mismatch() -> Problem:
    """The Problem of a request whose bytes do not have the checksum that it says."""
    return Problem(
        CHECKSUM_MISMATCH,
        "The bytes do not have the checksum that was announced: none of this request is stored.",
    )


def capabilities(max_bytes: int) -> dict[str, str]:
    """The fields of the response to OPTIONS; ``max_bytes`` are those that an upload may have, 0 if
    there is no limit."""
    limit = {"Tus-Max-Size": str(max_bytes)} if max_bytes else {}
    return {
        "Tus-Resumable": VERSION,
        "Tus-Version": VERSION,
        "Tus-Extension": ",".join(EXTENSIONS),
        "Tus-Checksum-Algorithm": ALGORITHM,
        **limit,
    }


def _require_type(headers: MultiMapping[str]) -> None:
    """Raise Problem 415 unless the body is bytes of the file as they are."""
    refuse_coding(headers)
    kind = _one(headers, "Content-Type") or ""
    if kind.partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise Problem(415, f"Send the bytes with Content-Type: {CONTENT_TYPE}.")


def _one(headers: MultiMapping[str], field: str) -> str | None:
    """The value of a field that has one line at most."""
    lines = headers.getall(field, ())
    if len(lines) > 1:
        raise Problem(400, f"{field} is there twice: send it once.")
    return lines[0].strip() if lines else None


def _size(headers: MultiMapping[str], field: str) -> int | None:
    said = _one(headers, field)
    return None if said is None else size_of(field, said)


def _metadata(raw: str) -> dict[str, str]:
    """The pairs of ``raw``, decoded."""
    found: dict[str, str] = {}
    if not raw:
        return found
    pairs = raw.split(",")
    if len(raw) > MAX_METADATA_CHARACTERS or len(pairs) > MAX_METADATA_PAIRS:
        raise Problem(
            400,
            f"Upload-Metadata has at most {MAX_METADATA_CHARACTERS} characters and "
            f"{MAX_METADATA_PAIRS} pairs: send less.",
        )
    for pair in pairs:
        match = _PAIR.fullmatch(pair.strip(" \t"))
        if match is None:
            raise Problem(
                400,
                "Upload-Metadata is a list of pairs with commas between them: a key of ASCII, a "
                "space, and the value in base64.",
            )
        key = match["key"]
        if key in found:
            raise Problem(400, f"Upload-Metadata has {key} twice: send it once.")
        try:
            found[key] = base64.b64decode(match["value"] or "", validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Problem(
                400, f"The value of {key} in Upload-Metadata is not UTF-8 in base64, with padding."
            ) from None
    return found


def _checksum(headers: MultiMapping[str]) -> bytes | None:
    """The SHA-256 of the body, by ``Upload-Checksum`` or ``Content-Digest`` (RFC 9530)."""
    for line in headers.getall("Trailer", ()):
        refuse_trailer(line.split(","))
    promised = {promised_sha256("Content-Digest", headers.getall("Content-Digest", ()))}
    said = _one(headers, "Upload-Checksum")
    if said is not None:
        promised.add(_upload_checksum(said))
    promised.discard(None)
    if len(promised) > 1:
        raise Problem(400, "The request announces two checksums that differ.")
    return promised.pop() if promised else None


def _upload_checksum(said: str) -> bytes:
    algorithm, _, text = said.partition(" ")
    if algorithm != ALGORITHM:
        raise Problem(400, f"The only algorithm of Upload-Checksum here is {ALGORITHM}.")
    try:
        checksum = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        checksum = b""
    if len(checksum) != hashlib.sha256().digest_size:
        raise Problem(400, f"Upload-Checksum is {ALGORITHM}, a space and 32 bytes in base64.")
    return checksum
