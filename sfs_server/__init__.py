"""The HTTP service: files in namespaces, streamed between HTTP clients and a GFS."""

from importlib.metadata import version

__version__ = version("sfs-server")
