"""The transfer that a request makes: its id, and what those who watch it are shown of its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from sfs_server.errors import Problem, problem_of, refused
from sfs_server.logs import CLIENT_GONE
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
    them before.

    It has ended when all bytes have come and are published, or are refused for a reason that is the
    client's. Otherwise it pauses, because the client can go on.
    """
    hub = request.app[PROGRESS]
    transfer = _resumed(request, id_, offset, namespace)
    hub.start(transfer, total)
    problem: Problem | None = None
    try:
        yield transfer
    except BaseException as error:
        problem = _problem(error)
        raise
    finally:
        if transfer.moved == total and (problem is None or _is_final(problem)):
            hub.end(transfer, None if problem is None else problem.detail)
        else:
            hub.pause(transfer)


def end_resumed(request: web.Request, id_: str, *, offset: int, namespace: str) -> None:
    """Show those who watch an upload over several requests that ``request`` has given it up."""
    hub = request.app[PROGRESS]
    transfer = _resumed(request, id_, offset, namespace)
    hub.start(transfer, None)
    hub.end(transfer, "The upload was given up.")


def _resumed(request: web.Request, id_: str, offset: int, namespace: str) -> Transfer:
    user = request[PRINCIPAL].user
    transfer = Transfer("upload", id_, user, namespace, moved=offset, offset=offset, resumable=True)
    request[TRANSFER] = transfer
    return transfer


def _is_final(problem: Problem) -> bool:
    """Whether a client is not expected to try again."""
    return refused(problem.status) and problem.status != CLIENT_GONE


def _problem(error: BaseException) -> Problem:
    """What those who watch a transfer are shown of ``error``, which ended it."""
    if isinstance(error, Exception) and not isinstance(error, ConnectionError):
        return problem_of(error)
    return Problem(CLIENT_GONE, "The connection was lost before the end.")
