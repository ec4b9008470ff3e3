"""The web page: which files there are, and with which headers they are served."""

from sfs_server.page.files import StaticFile, StaticFiles, Variant, load

__all__ = [
    "StaticFile",
    "StaticFiles",
    "Variant",
    "load",
]
