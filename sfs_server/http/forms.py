"""The file inside a ``multipart/form-data`` body (RFC 7578), extracted as the body comes. Pure.

The first part named ``file`` is the upload; its own file name is ignored, because the path names
the file. Everything else in the body (other fields, preamble, epilogue) is read and dropped, up to
MAX_OTHER_BYTES, because only the closing delimiter shows that the file has come whole.

A body is bytes up to a delimiter (CRLF, two dashes, the boundary), a head up to an empty line,
bytes up to a delimiter, and so on; behind the last delimiter stand two dashes (RFC 2046 §5.1.1).
What stands before the first one, the preamble, is read like the bytes of a part and dropped. Of the
bytes of a part, only those that may be the start of a delimiter are kept for the next piece; the
others are passed on as they came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from sfs_server.errors import Problem
from sfs_server.http.dialects import refuse_parameters

MAX_OTHER_BYTES = 16 * 1024 * 1024
"""Bytes of a body besides those of the file."""

MAX_PARTS = 100
"""Parts of a body."""

MAX_PART_HEAD = 4096
"""Bytes of the head of one part."""

MAX_PART_FIELDS = 8
"""Header fields of one part. A browser sends two."""

MAX_BOUNDARY = 70
"""Characters of a boundary (RFC 2046 §5.1.1)."""

FIELD = "file"
"""The name of the part that is the upload."""

_PARAMETER = re.compile(r';\s*([^\s;=]*)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)(?:"[^;]*|\Z)|([^;]*)))?')
"""A parameter of a Content-Type or a Content-Disposition. A value that is not quoted ends at the
next semicolon, whatever it contains: programs write ``boundary=----=_Part_1``, which should be
quoted (RFC 2045 §5.1)."""

_FOLD = re.compile(rb"\r\n[ \t]+")


class _Place(Enum):
    """Where in the body the next byte stands."""

    BYTES = auto()
    HEAD = auto()
    EPILOGUE = auto()


@dataclass(slots=True)
class _Part:
    """What the head of a part says, and how many bytes of it have come."""

    name: str = ""
    file_name: str | None = None
    announced: int | None = None
    size: int = 0


def is_form(content_type: str) -> bool:
    """Whether a body of this ``Content-Type`` is a form with a file in it.

    aiohttp's ``request.content_type`` would ask the e-mail parser of the standard library, which
    takes the square of the length for some texts and a stack frame for each parenthesis.
    """
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


class FormFile:
    """Takes a body in pieces of any size, and gives the bytes of the file in it."""

    def __init__(self, content_type: str) -> None:
        """``content_type`` is the request's. Raises Problem 400 if it has no usable boundary."""
        boundary = _parameters(content_type).get("boundary", "")
        printable = boundary.isascii() and boundary.isprintable()
        if not 1 <= len(boundary) <= MAX_BOUNDARY or not printable:
            raise Problem(400, "The Content-Type of a form needs a boundary of 1 to 70 characters.")
        self._delimiter = b"\r\n--" + boundary.encode()
        self._pending = b"\r\n"  # the first delimiter may be the first line
        self._place = _Place.BYTES
        self._part = _Part()
        self._parts = 0
        self._file: _Part | None = None
        self._left_out = False
        self._fed = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the bytes of the file that are in ``piece``, the next one of the body. The iterator
        must be exhausted before the next call.

        Raises Problem 400 for a body that is no form, 413 for too much besides the file, and 501
        for a field of a protocol that sends files in parts.
        """
        self._fed += len(piece)
        buffer, at = self._pending + piece, 0
        while self._place is not _Place.EPILOGUE:
            if self._place is _Place.BYTES:
                end = buffer.find(self._delimiter, at)
                ended = end >= 0
                if not ended:
                    end = self._plain_up_to(buffer, at)
                if end > at:
                    self._part.size += end - at
                    if self._part is self._file:
                        yield buffer[at:end]
                at = end
                if not ended:
                    break
                self._end_part()
                at += len(self._delimiter)
                self._place = _Place.HEAD
            elif buffer.startswith(b"--", at):
                self._place = _Place.EPILOGUE
            else:
                end = _end_of_head(buffer, at)
                if end < 0:
                    break
                self._start_part(buffer[at:end])
                at = end + 4
                self._place = _Place.BYTES
        self._pending = b"" if self._place is _Place.EPILOGUE else buffer[at:]
        taken = 0 if self._file is None else self._file.size
        if self._fed - taken > MAX_OTHER_BYTES:
            raise Problem(413, f"The form has more than {MAX_OTHER_BYTES} bytes besides the file.")

    def finish(self) -> None:
        """The body has ended. Raises Problem 400 unless the form is complete and had a file."""
        if self._place is not _Place.EPILOGUE:
            raise Problem(400, "The form ends before its closing delimiter.")
        if self._file is None and self._left_out:
            raise Problem(400, "No file was chosen: the part has no file name and no bytes.")
        if self._file is None:
            raise Problem(400, f"The form has no part named '{FIELD}'.")

    def _plain_up_to(self, buffer: bytes, at: int) -> int:
        """The end of the bytes from ``at`` on that cannot be the start of a delimiter; there is no
        whole delimiter in ``buffer`` behind ``at``."""
        # A delimiter has one CR, its first byte.
        start = buffer.rfind(b"\r", max(at, len(buffer) - len(self._delimiter) + 1))
        return start if start >= 0 and self._delimiter.startswith(buffer[start:]) else len(buffer)

    def _start_part(self, head: bytes) -> None:
        """Read the head of a part, from behind its delimiter to before the empty line."""
        self._parts += 1
        padding, *lines = _FOLD.sub(b" ", head).split(b"\r\n")
        if self._parts > MAX_PARTS or len(lines) > MAX_PART_FIELDS:
            raise _too_much()
        fields = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon:
                raise _malformed()
            # A file name may be in any coding; of names only FIELD matters, which is ASCII.
            fields[name.strip().lower()] = value.decode("latin-1").strip()
        disposition = fields.get(b"content-disposition", "")
        parameters = _parameters(disposition)
        length = fields.get(b"content-length")
        if (
            padding.strip(b" \t")  # which may stand there (RFC 2046 §5.1.1)
            or disposition.partition(";")[0].strip().lower() != "form-data"
            or "name" not in parameters
            or not (length is None or (length.isascii() and length.isdigit() and len(length) < 20))
        ):
            raise _malformed()
        self._part = _Part(
            parameters["name"],
            parameters.get("filename*") or parameters.get("filename"),
            None if length is None else int(length),
        )
        refuse_parameters((self._part.name,))
        if self._file is None and self._part.name == FIELD:
            self._file = self._part

    def _end_part(self) -> None:
        part = self._part
        if part.announced not in (None, part.size):
            raise _malformed()
        if part is self._file and part.file_name == "" and not part.size:
            # What a form sends where no file was chosen (HTML §4.10.22.4).
            self._file, self._left_out = None, True


def _end_of_head(buffer: bytes, at: int) -> int:
    """The position of the empty line that ends the head of a part; -1 if it has not come."""
    end = buffer.find(b"\r\n\r\n", at)
    if (end if end >= 0 else len(buffer)) - at > MAX_PART_HEAD:
        raise _too_much()
    return end


def _parameters(value: str) -> dict[str, str]:
    """The parameters of a header field, by their names in lower case."""
    found = {}
    for name, quoted, plain in _PARAMETER.findall(value):
        found[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain.strip()
    return found


def _malformed() -> Problem:
    return Problem(400, "The body is not well-formed multipart/form-data.")


def _too_much() -> Problem:
    return Problem(413, "The form has too many or too long parts.")
