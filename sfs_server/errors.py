"""Errors as HTTP responses: the one table from an exception's class to a status.

A handler raises :class:`Problem` for an error that it finds itself; ``problem_of`` turns every
other exception into one. The detail of a Problem is shown to the client: it says what was wrong and
what to do, and never shows a stack, a path of the machine or a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from gfs.errors import (
    AlreadyExists,
    DataLoss,
    FolderTooLarge,
    GfsError,
    InvalidName,
    IsFolder,
    MovesIntoItself,
    NoSuchDirectory,
    NoSuchFile,
    NoSuchFolder,
    NoSuchUpload,
    NotAFolder,
    StoreBroken,
    StoreFull,
    StoreUnavailable,
    VersionMismatch,
)

CHECKSUM_MISMATCH = 460
"""The status of tus for bytes that do not have their checksum. It is not one of HTTP's."""

_PHRASES = {CHECKSUM_MISMATCH: "Checksum Mismatch"}
"""The phrases of statuses that are not HTTP's."""

RETRY_AFTER_SECONDS = 5
"""The ``Retry-After`` of a 503, in seconds: about the time that a store or a database takes to
start again."""

INVALID_TOKEN = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
"""The header of a 401 for a token that is not valid (RFC 6750 §3)."""


class Problem(Exception):
    """A response that is an error: the ``status`` and ``detail`` of RFC 9457, and headers."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    @property
    def title(self) -> str:
        """The phrase of the status (RFC 9110 §15), as RFC 9457 asks for with ``about:blank``."""
        return _PHRASES.get(self.status) or HTTPStatus(self.status).phrase

    def document(self) -> dict[str, object]:
        """The members of the ``application/problem+json`` document (RFC 9457 §3)."""
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }


def refused(status: int) -> bool:
    """Whether ``status`` says that the request is at fault: a 4xx, or 501."""
    return 400 <= status < 500 or status == 501


class DatabaseUnavailable(Exception):
    """PostgreSQL cannot be reached, or did not respond in time."""


class Busy(DatabaseUnavailable):
    """Other requests that change the same file or namespace took too long."""


class DatabaseFull(DatabaseUnavailable):
    """PostgreSQL has no disk space left."""


PRECONDITION_FAILED = "The file is not the version that the request requires."
"""The detail of every 412 that is about a version."""

_TOO_LARGE = "The folder has more in it than can be moved in one step"

_TABLE: tuple[tuple[type[Exception], int, str], ...] = (
    (NoSuchFile, 404, "There is no such file."),
    (NoSuchFolder, 404, "There is no such folder."),
    (NoSuchDirectory, 404, "There is no such namespace."),
    (NoSuchUpload, 404, "There is no such upload: it was published, deleted, or has expired."),
    (IsFolder, 409, "A folder has that name: choose another one, or delete the folder first."),
    (NotAFolder, 409, "A file has the name of a folder that the path goes through."),
    (MovesIntoItself, 403, "Nothing can be moved onto itself, into itself, or onto its folder."),
    (AlreadyExists, 409, "A file of that name exists. Add ?overwrite=true to replace it."),
    (VersionMismatch, 412, PRECONDITION_FAILED),
    (StoreFull, 507, "The store is full. Delete files, or have its operator add space."),
    (StoreUnavailable, 503, "The store cannot be reached. Try again later."),
    (
        StoreBroken,
        500,
        "The store cannot do that until its operator repairs it: trying again does not help. The "
        "log of the service says what is wrong.",
    ),
    (DataLoss, 503, "The file cannot be read from the store now. Try again later."),
    (GfsError, 500, "The store failed. The log of the service says more."),
    (DatabaseFull, 507, "The disk of the database is full. Delete files or add space."),
    (Busy, 503, "Too many requests change the same thing at once. Try again later."),
    (DatabaseUnavailable, 503, "The database cannot be reached. Try again later."),
)


def problem_of(error: Exception) -> Problem:
    """The Problem that the client gets for ``error``: 500 for one that is not in the table."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, InvalidName):
        return Problem(400, f"That name cannot be used: {error}.")
    if isinstance(error, FolderTooLarge):
        return Problem(409, f"{_TOO_LARGE} ({error}). Move the folders in it one by one.")
    for kind, status, detail in _TABLE:
        if isinstance(error, kind):
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
            return Problem(status, detail, headers)
    return Problem(500, "The service failed. Its log says more, under this request's id.")
