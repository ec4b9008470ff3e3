"""What goes wrong, as HTTP says it: the one table from an error's class to a status.

A handler raises :class:`Problem` for what it finds itself; whatever else is raised on the way is
turned into one here. The detail of a Problem is shown to the client: it says what was wrong and
what to do, and never shows a stack, a path of the machine or a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from gfs.errors import (
    AlreadyExists,
    DataLoss,
    GfsError,
    InvalidName,
    NoSuchDirectory,
    NoSuchFile,
    StoreBroken,
    StoreFull,
    StoreUnavailable,
    VersionMismatch,
)

RETRY_AFTER_SECONDS = 5
"""What a 503 tells the client to wait: about the time that a store or a database needs to be
started again."""


INVALID_TOKEN = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
"""What a 401 says of a token that is not valid (RFC 6750 §3)."""


class Problem(Exception):
    """An answer that is an error: RFC 9457's ``status`` and ``detail``, and headers to go along."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    @property
    def title(self) -> str:
        """The status code's phrase (RFC 9110 §15), as RFC 9457 wants it for ``about:blank``."""
        return HTTPStatus(self.status).phrase

    def document(self) -> dict[str, object]:
        """The members of the ``application/problem+json`` document (RFC 9457 §3)."""
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }


def refused(status: int) -> bool:
    """Whether ``status`` says that something is wrong with the request: not only a 4xx does."""
    return 400 <= status < 500 or status == 501


class DatabaseUnavailable(Exception):
    """PostgreSQL cannot be reached, or did not answer in time."""


class Busy(DatabaseUnavailable):
    """Others change the same thing, and it took too long until they were done."""


class DatabaseFull(DatabaseUnavailable):
    """PostgreSQL has no disk space left for what it was asked to write."""


_TABLE: tuple[tuple[type[Exception], int, str], ...] = (
    (NoSuchFile, 404, "There is no such file."),
    (NoSuchDirectory, 404, "There is no such namespace."),
    (AlreadyExists, 409, "A file of that name exists. Add ?overwrite=true to replace it."),
    (VersionMismatch, 412, "The file is not the version that the request requires."),
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
    """The Problem that answers for ``error``; 500 for one that nothing here knows."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, InvalidName):
        return Problem(400, f"That name cannot be used: {error}.")
    for kind, status, detail in _TABLE:
        if isinstance(error, kind):
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
            return Problem(status, detail, headers)
    return Problem(500, "The service failed. Its log says more, under this request's id.")
