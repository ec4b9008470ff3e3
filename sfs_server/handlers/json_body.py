"""Reading the small JSON objects that are the bodies of some requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from sfs_server.auth import RepeatedMember, load_json_object
from sfs_server.errors import Problem
from sfs_server.transfer import ClientSocket

MAX_JSON = 64 * 1024
"""Bytes of a body, at most."""

JSON_SECONDS = 10.0
"""How long its client may take to send it."""


async def members(request: web.Request) -> dict[str, Any]:
    """Return the JSON object that is the body. Raises Problem 400, 408, 413 or 415."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem(415, "Send the JSON without Content-Encoding.")
    await ClientSocket(request).invite_body()
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
        return load_json_object(bytes(body))
    except RepeatedMember:
        raise Problem(400, "The JSON names a member twice: name each one once.") from None
    except ValueError:
        raise Problem(400, "The body is not a JSON object in UTF-8.") from None


def refuse_misread(
    found: dict[str, Any], known: Iterable[str], unsupported: Mapping[str, str]
) -> None:
    """Raise Problem 400 for a member of ``found`` that must not be ignored, as others are that have
    no meaning here.

    It must not be ignored where the client would get more than it wants. That is so for one of
    ``known`` that is spelled almost right (``Hidden``), and for one of ``unsupported`` (name → what
    to do instead), unless its value is null or false. Case, ``_`` and ``-`` make no difference.
    """
    spelled = {_plain(name): name for name in known}
    refused = {_plain(name): (name, instead) for name, instead in unsupported.items()}
    for member, value in found.items():
        plain = _plain(member)
        if member != spelled.get(plain, member):
            raise Problem(400, f'Write the member "{spelled[plain]}" exactly so.')
        if plain in refused and value is not None and value is not False:
            name, instead = refused[plain]
            raise Problem(400, f'The member "{name}" cannot be used here: {instead}.')


def _plain(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")


def string(found: dict[str, Any], name: str) -> str:
    """The member ``name``. Raises Problem 400 if it is missing or is not a string."""
    value = found.get(name)
    if not isinstance(value, str):
        raise Problem(400, f'The member "{name}" is missing or is not a string.')
    return value
