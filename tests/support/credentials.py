"""The secret that every service of the tests has, and tokens that it signs."""

from __future__ import annotations

from sfs_server.auth.tokens import mint

SECRET = "a secret of the tests, longer than 32 bytes"


def token(user: str = "alice", *, admin: bool = False, secret: str = SECRET) -> str:
    """A token of ``user`` that is good for an hour."""
    return mint(secret, user=user, admin=admin, ttl=3600)


def authorization(token: str) -> dict[str, str]:
    """The header of a request with ``token``."""
    return {"Authorization": f"Bearer {token}"}


def bearer(
    user: str | None = "alice", *, admin: bool = False, secret: str = SECRET
) -> dict[str, str]:
    """The header of a request of ``user``; no header for None, who is anonymous."""
    return {} if user is None else authorization(token(user, admin=admin, secret=secret))
