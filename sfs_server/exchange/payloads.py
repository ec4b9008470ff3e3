"""What processes send each other: the payloads of NOTIFY. Pure.

A payload is lines of JSON. The first is the sender, a string. Each other one is an item, of which
the topics of :mod:`sfs_server.exchange` know the meaning. PostgreSQL takes payloads of less than
8000 bytes, so items are packed into as few as hold them.

Everyone who can connect to the database can send anything: what is not as it should be is dropped,
item by item, here or by the topics.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

MAX_PAYLOAD_BYTES = 7900


def pack(sender: str, items: Iterable[str]) -> Iterator[str]:
    """The payloads that carry ``items``, in their order; each is a line of JSON in ASCII, of at
    most MAX_PAYLOAD_BYTES less what the sender takes."""
    head = json.dumps(sender)
    lines, length = [head], len(head)
    for item in items:
        if length + 1 + len(item) > MAX_PAYLOAD_BYTES:
            yield "\n".join(lines)
            lines, length = [head], len(head)
        lines.append(item)
        length += 1 + len(item)
    if len(lines) > 1:
        yield "\n".join(lines)


def unpack(payload: str) -> tuple[str | None, list[Any]]:
    """The sender of a payload, and its items. The sender is None if this is no payload of ours."""
    head, *lines = payload.split("\n")
    sender = next(_values([head]), None)
    if not isinstance(sender, str):
        return None, []
    return sender, list(_values(lines))


def _values(lines: list[str]) -> Iterator[Any]:
    for line in lines:
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            continue
