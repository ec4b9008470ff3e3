"""The integrity fields of RFC 9530: which SHA-256 the bytes of an upload must have. Pure.

``Content-Digest`` is of the request's content as it came, ``Repr-Digest`` of the file: for a raw
body that is the same, for a form the first includes the framing. Only ``sha-256`` is verified;
other algorithms are ignored (§2), and a malformed field is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence

from gfs.types import Bytes
from sfs_server.errors import Problem

# One member of a dictionary whose values are byte sequences (RFC 9651 §3.2, §3.3.5).
_MEMBER = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):\s*(?:,|\Z)")


class Digest:
    """The SHA-256 that one field announces, and the one of the bytes that have arrived so far."""

    def __init__(self, field: str, values: Sequence[str]) -> None:
        """``values`` are the lines of the header ``field``. Raises Problem 400 if malformed."""
        self._field = field
        self._promised = promised_sha256(field, values)
        self._seen = hashlib.sha256()

    def update(self, piece: Bytes) -> None:
        """Add bytes that arrived."""
        if self._promised is not None:
            self._seen.update(piece)

    def verify(self) -> None:
        """Raise Problem 400 unless the bytes were those that were promised."""
        if self._promised not in (None, self._seen.digest()):
            raise Problem(400, f"The bytes received do not match {self._field}: nothing is stored.")


def refuse_trailer(names: Iterable[str]) -> None:
    """Raise Problem 400 if one of the ``names`` of trailer fields (RFC 9110 §6.5) is a digest or
    the checksum of tus: one that comes there is not verified, and a proxy may have dropped it."""
    for name in names:
        if name.strip().lower() in ("content-digest", "repr-digest", "upload-checksum"):
            raise Problem(
                400, f"Send {name.strip()} in the header: in a trailer it is not verified."
            )


def promised_sha256(field: str, values: Sequence[str]) -> bytes | None:
    """The 32 bytes that the lines ``values`` of the header ``field`` announce; None if they have no
    ``sha-256``. Raises Problem 400 if malformed."""
    text = ", ".join(values)
    position, found = 0, None
    while position < len(text):
        member = _MEMBER.match(text, position)
        if member is None:
            raise Problem(400, f"{field} is malformed: it looks like sha-256=:BASE64:")
        position = member.end()
        if member.group(1) == "sha-256":
            padding = "=" * (-len(member.group(2)) % 4)
            try:
                # Padding that was left out is no error (RFC 9651 §4.2.7).
                found = base64.b64decode(member.group(2) + padding, validate=True)
            except binascii.Error:
                raise Problem(400, f"{field} has a sha-256 that is not base64.") from None
            if len(found) != hashlib.sha256().digest_size:
                raise Problem(400, f"{field} has a sha-256 that is not 32 bytes long.")
    return found
