"""The transfer that a request makes: its id, and what those who watch it are shown of its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from sfs_server.errors import Problem, problem_of
from sfs_server.progress import Direction, Transfer, check_id
from sfs_server.web import PRINCIPAL, PROGRESS, TRANSFER


@contextmanager
def transfer_of(request: web.Request, direction: Direction) -> Iterator[Transfer]:
    """The upload or download that ``request`` makes, until the body of the ``with`` ends.

    It has the id that the client gave, ``?id=`` or ``X-Transfer-Id``, but that of a HEAD has none,
    since no bytes move. The caller starts it with ``Hub.start`` when the bytes are about to move.
    A request that is refused before is shown as a transfer that failed, unless the client has to
    sign in first: someone who may do nothing may not say anything under an id either. Raises
    Problem 400 if the id cannot be one.
    """
    given = request.headers.get("X-Transfer-Id")
    if given is not None:
        check_id(given)  # even if another one stands in the query
    if request.query_string and (named := request.query.get("id")) is not None:
        given = check_id(named)
    transfer = Transfer(
        direction,
        "" if given is None or request.method == "HEAD" else given,
        request[PRINCIPAL].user,
    )
    request[TRANSFER] = transfer
    hub = request.app[PROGRESS]
    try:
        yield transfer
    except BaseException as error:
        problem = _problem(error)
        if transfer.id and transfer.started is None and problem.status != 401:
            hub.start(transfer, None)
        if transfer.started is not None:
            hub.end(transfer, problem.detail)
        raise
    if transfer.started is not None:
        hub.end(transfer)


@contextmanager
def resumed_transfer(
    request: web.Request, id_: str, *, offset: int, total: int | None, namespace: str
) -> Iterator[Transfer]:
    """The part that ``request`` has of an upload over several requests, until the body of the
    ``with`` ends. ``id_`` is that of the whole upload, which has ``total`` bytes, and ``offset`` of
    them before. It pauses at the end, unless all bytes have come: then it has ended."""
    user = request[PRINCIPAL].user
    transfer = Transfer("upload", id_, user, namespace, moved=offset, offset=offset, resumable=True)
    request[TRANSFER] = transfer
    hub = request.app[PROGRESS]
    hub.start(transfer, total)
    error: str | None = None
    try:
        yield transfer
    except BaseException as raised:
        error = _problem(raised).detail
        raise
    finally:
        if transfer.moved == total:
            hub.end(transfer, error)
        else:
            hub.pause(transfer)


def _problem(error: BaseException) -> Problem:
    """What those who watch a transfer are shown of ``error``, which ended it."""
    if isinstance(error, Exception) and not isinstance(error, ConnectionError):
        return problem_of(error)
    return Problem(499, "The connection was lost before the end.")
