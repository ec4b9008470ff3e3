"""The small JSON objects that some routes take as their bodies."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from sfs_server.errors import Problem
from sfs_server.transfer import begin_body

MAX_JSON = 64 * 1024
JSON_SECONDS = 10.0


async def members(request: web.Request) -> dict[str, Any]:
    """The JSON object of the body. Problem 400, 408, 413 or 415."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem(415, "Send the JSON without Content-Encoding.")
    await begin_body(request)
    body = bytearray()
    try:
        async with asyncio.timeout(JSON_SECONDS):
            while piece := await request.content.readany():
                body += piece
                if len(body) > MAX_JSON:
                    raise Problem(413, f"The JSON has at most {MAX_JSON} bytes.")
    except TimeoutError:
        raise Problem(408, f"The JSON did not come within {JSON_SECONDS:g} seconds.") from None
    try:
        found = json.loads(body.decode())  # of bytes it would take UTF-16 and UTF-32 too
    except (ValueError, RecursionError):
        raise Problem(400, "The body is not JSON in UTF-8.") from None
    if not isinstance(found, dict):
        raise Problem(400, "The body is not a JSON object.")
    return found


def string(found: dict[str, Any], name: str) -> str:
    """The member ``name``, which must be there. Problem 400 if it is not, or is not a string."""
    value = found.get(name)
    if not isinstance(value, str):
        raise Problem(400, f'The member "{name}" is missing or is not a string.')
    return value
