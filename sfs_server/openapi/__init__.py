"""``/openapi.json``: the contract of the routes, made from the values that the code uses."""

from sfs_server.openapi.contract import document

__all__ = [
    "document",
]
