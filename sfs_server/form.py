"""The file inside a ``multipart/form-data`` body (RFC 7578), taken out as it streams by.

The first part named ``file`` is the upload; its own file name is ignored, for the path names the
file. What else is in the body (other fields, preamble, epilogue) is read and dropped, up to
MAX_OTHER_BYTES, because only the closing delimiter shows that the file has come whole. Finding
the delimiters is the library's work (``multipart``, which copies nothing that it does not have
to); which part counts and how much of anything is too much is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from sfs_server.errors import Problem
from sfs_server.parts import refuse_parameters

MAX_OTHER_BYTES = 16 * 1024 * 1024
MAX_PARTS = 100
MAX_BOUNDARY = 70  # RFC 2046 §5.1.1
FIELD = "file"

_PARAMETER = re.compile(r';\s*([^\s;=]*)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)(?:"[^;]*|\Z)|([^;]*)))?')
"""A parameter of a Content-Type. A value that is not quoted goes up to the next semicolon, whatever
is in it: programs write ``boundary=----=_Part_1``, which should be quoted (RFC 2045 §5.1)."""


class FormFile:
    """Takes the body in pieces of any size, gives the file's bytes."""

    def __init__(self, content_type: str) -> None:
        """``content_type`` is the request's; Problem 400 if it has no usable boundary."""
        boundary = _boundary(content_type)
        printable = boundary.isascii() and boundary.isprintable()
        if not 1 <= len(boundary) <= MAX_BOUNDARY or not printable:
            raise Problem(400, "The Content-Type of a form needs a boundary of 1 to 70 characters.")
        # Names may be in any coding: of them only FIELD matters, which is ASCII.
        self._parser = PushMultipartParser(
            boundary, max_segment_count=MAX_PARTS, header_charset="latin-1"
        )
        self._taking = False
        self._found = False
        self._unnamed = False
        self._left_out = False
        self._fed = 0
        self._taken = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield what ``piece`` brings of the file. Must be exhausted before the next call.

        Raises Problem 400 for what is no form, 413 for too much beside the file, and 501 for a
        field that says that the file is a part of one.
        """
        self._fed += len(piece)
        try:
            for event in self._parser.parse(piece):
                if isinstance(event, MultipartSegment):
                    refuse_parameters((event.name,))
                    self._taking = not self._found and event.name == FIELD
                    self._found = self._found or self._taking
                    self._unnamed = event.filename == ""
                elif event is None:
                    if self._taking and self._unnamed and not self._taken:
                        # What a form sends where no file was chosen (HTML §4.10.22.4).
                        self._found, self._left_out = False, True
                    self._taking = False
                elif self._taking:
                    self._taken += len(event)
                    yield event
        except ParserLimitReached as error:
            raise Problem(413, "The form has too many or too long parts.") from error
        except MultipartError as error:
            raise Problem(400, "The body is not well-formed multipart/form-data.") from error
        if self._fed - self._taken > MAX_OTHER_BYTES:
            raise Problem(413, f"The form has more than {MAX_OTHER_BYTES} bytes beside the file.")

    def finish(self) -> None:
        """The body has ended. Raises Problem 400 unless the form is whole and had a file."""
        if not self._parser.closed and self._parser.error is None:
            try:
                self._parser.close()
            except MultipartError as error:
                raise Problem(400, "The form ends before its closing delimiter.") from error
        if not self._found and self._left_out:
            raise Problem(400, "No file was chosen: the part has no file name and no bytes.")
        if not self._found:
            raise Problem(400, f"The form has no part named '{FIELD}'.")


def _boundary(content_type: str) -> str:
    """The parameter ``boundary``, or nothing."""
    for found in _PARAMETER.finditer(content_type):
        name, quoted, plain = found.groups()
        if name.lower() == "boundary":
            return (plain or "").strip() if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return ""
