"""A row of the table ``namespaces``: its columns, which namespace it is; keys of locks. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sfs_server.auth import Namespace

COLUMNS = "name, hidden, owner, created_at"
"""What ``namespace_of`` makes a Namespace of."""

IS_SAME = (
    "name = %(name)s AND coalesce(created_at, 'epoch') = %(created_at)s "
    "AND owner IS NOT DISTINCT FROM %(owner)s"
)
"""The condition that a row is a certain namespace, and not one of the same name that was created
later. Its parameters come from ``identity_of``."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def namespace_of(row: tuple[Any, ...]) -> Namespace:
    """The Namespace of a row of ``COLUMNS``. In a table that was made by hand, ``hidden`` and
    ``created_at`` may be NULL."""
    name, hidden, owner, created_at = row
    return Namespace(
        name=name,
        hidden=bool(hidden),
        owner=owner,
        created_at=_EPOCH if created_at is None else created_at.replace(tzinfo=UTC),
    )


def identity_of(namespace: Namespace) -> dict[str, object]:
    """The parameters of a statement with the condition ``IS_SAME`` in it."""
    created_at = namespace.created_at.replace(tzinfo=None)
    return {"name": namespace.name, "created_at": created_at, "owner": namespace.owner}


def lock_key(kind: str, *names: str) -> int:
    """The key of the advisory lock of a ``namespace``, ``file``, ``owner`` or another ``kind``: a
    signed number of 64 bits, so that two names do not have the same one by accident."""
    text = "\0".join(("sfs", kind, *names))
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)
