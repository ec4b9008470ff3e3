"""The secret that every service of the tests has, and tokens that it signs."""

from __future__ import annotations

from sfs_server.auth.tokens import mint

SECRET = "a secret of the tests, longer than 32 bytes"


def token(user: str = "alice", *, admin: bool = False) -> str:
    """A token of ``user`` that is good for an hour."""
    return mint(SECRET, user=user, admin=admin, ttl=3600)


def bearer(user: str | None = "alice", *, admin: bool = False) -> dict[str, str]:
    """The header of a request with :func:`token`; no header for None, who is anonymous."""
    if user is None:
        return {}
    return {"Authorization": f"Bearer {token(user, admin=admin)}"}
