"""What processes send each other about transfers. Pure.

An item (:mod:`sfs_server.exchange.payloads`) is JSON. ``null`` says that the sender has just
started to listen, and does not know what others request. A string is an id whose transfers the
sender requests. An object is the state of a transfer of the sender; its ``done`` is true after the
end, and ``"paused"`` where the transfer goes on in another one, maybe of another process: versions
before this one drop such a state. The longest (a user of 255
characters and an error of 200, each escaped to 12 bytes) has 6 KB.

The clocks of machines differ, so a state has an age, and no time.
"""

from __future__ import annotations

import json
from typing import Any

from gfs.paths import MAX_DIRECTORY_CHARACTERS
from sfs_server.auth import MAX_USER_CHARACTERS
from sfs_server.errors import Problem
from sfs_server.progress.transfers import MAX_ERROR_CHARACTERS, Transfer, check_id

HELLO = "null"
"""The item of a process that has just started to listen."""

_PAUSED = "paused"

_MOST = 2**63 - 1
"""The largest number that is accepted, of bytes or seconds."""

_RUN_CHARACTERS = 16
"""The longest run that is accepted: as long as the hub makes them."""


def encode_request(id_: str) -> str:
    """The item that requests the transfers of ``id_``."""
    return json.dumps(id_)


def encode_state(transfer: Transfer, now: float) -> str:
    """The item that has the newest state of ``transfer``; ``now`` is the event loop's time."""
    state = transfer.state()
    return json.dumps(
        {
            "run": transfer.run,
            "id": state.id,
            "direction": state.direction,
            "owner": transfer.owner,
            "namespace": transfer.namespace,
            "age": round(now - (transfer.started or now), 3),
            "bytes": state.moved,
            "total": state.total,
            "done": _PAUSED if transfer.paused else state.done,
            "error": state.error,
            "resumable": transfer.resumable,
        },
        separators=(",", ":"),
    )


def parse(item: object, now: float) -> Transfer | str | None:
    """What an item of another process is: a transfer, or an id; None if it is neither. ``now`` is
    the event loop's time."""
    if isinstance(item, dict):
        return _transfer(item, now)
    return item if isinstance(item, str) and _is_id(item) else None


def _transfer(found: dict[str, Any], now: float) -> Transfer | None:
    """The transfer that an object describes, None if it describes none."""
    run, direction, age = found.get("run"), found.get("direction"), found.get("age")
    done, error, namespace = found.get("done"), found.get("error"), found.get("namespace")
    good = (
        _is_id(found.get("id"))
        and _is_text(run, _RUN_CHARACTERS)
        and direction in ("upload", "download")
        and (found.get("owner") is None or _is_text(found["owner"], MAX_USER_CHARACTERS))
        and (namespace is None or _is_text(namespace, MAX_DIRECTORY_CHARACTERS))
        and isinstance(age, int | float)
        and 0 <= age <= _MOST  # so no NaN
        and _is_count(found.get("bytes"))
        and (found.get("total") is None or _is_count(found["total"]))
        and (isinstance(done, bool) or done == _PAUSED)
        and (error is None or (done is True and _is_text(error, MAX_ERROR_CHARACTERS)))
        and isinstance(found.get("resumable", False), bool)
    )
    if not good:
        return None
    return Transfer(
        found["direction"],
        found["id"],
        found.get("owner"),
        namespace,
        moved=found["bytes"],
        total=found.get("total"),
        resumable=found.get("resumable", False),
        run=found["run"],
        started=now - found["age"],
        ended=now if done is True else None,
        paused=done == _PAUSED,
        error=error,
        last_received=now,
    )


def _is_id(value: object) -> bool:
    try:
        return isinstance(value, str) and check_id(value) == value
    except Problem:
        return False


def _is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= most


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST
