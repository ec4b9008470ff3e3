"""Codings of a request's body: none is decoded on the way to the store. Pure."""

from __future__ import annotations

from multidict import MultiMapping

from sfs_server.errors import Problem


def refuse_coding(headers: MultiMapping[str]) -> None:
    """Raise Problem 415 if the body of a request with ``headers`` has a ``Content-Encoding``
    (RFC 9110 §8.4): the bytes that are stored are the bytes that are sent."""
    lines = headers.getall("Content-Encoding", ())
    if any(line.strip().lower() != "identity" for line in lines):
        raise Problem(
            415,
            "Bytes are stored as they are sent: send them without Content-Encoding.",
            {"Accept-Encoding": "identity"},
        )
