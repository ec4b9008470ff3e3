"""The routes: one table of paths, methods and handlers."""

from __future__ import annotations

from aiohttp import web

from sfs_server.handlers import (
    archives,
    changes,
    files,
    folders,
    index,
    links,
    listings,
    namespaces,
    options,
    progress,
    service,
    static,
    uploads,
)
from sfs_server.http import tus

_IN = "/storage/{namespace:(?!(?:namespaces|uploads|download/[^/]+)/)[^/]+}"
"""The path of a namespace. Below ``/storage/namespaces/``, ``/storage/uploads/`` and
``/storage/download/NS/`` are others, which take other methods. The other reserved words match:
``check_namespace`` refuses them with 400, which says more than 404."""

_FILE = _IN + "/{path:(?s:.*[^/])}"
"""The path of a file, or of a folder without the slash at its end."""

_FOLDERS = (_IN + "/", _IN + "/{path:(?s:.+)}/")
"""The paths of folders: of the top of a namespace, and of one in it."""

_DOWNLOAD = "/storage/download/{namespace:[^/]+}/{path:(?s:.*[^/])}"
_NAMESPACE = "/storage/namespaces/{name:[^/]+}"
_UPLOADS = "/storage/uploads"
_UPLOAD = _UPLOADS + "/{id:[^/]+}"
_PAGE = r"/{path:(?!(?:storage|api|sse)(?:/|$)|(?:metrics|healthz|readyz|openapi\.json)$)(?s:.*)}"
"""The path of a file of the web page: every path outside the API."""


def add_routes(app: web.Application) -> None:
    """Add every route of the contract to ``app``."""
    router = app.router
    router.add_get("/storage/files", listings.list_files)
    router.add_get("/storage/namespaces", namespaces.list_namespaces)
    router.add_post("/storage/namespaces", namespaces.create_namespace)
    router.add_put(_NAMESPACE, namespaces.update_namespace)
    router.add_delete(_NAMESPACE, namespaces.delete_namespace)
    router.add_post("/storage/links", links.create_link)
    router.add_get("/storage/status", service.status)
    router.add_get(_DOWNLOAD, files.download)
    router.add_get(_FILE, files.view)
    router.add_post(_FILE, _post_file)
    router.add_put(_FILE, files.upload)
    router.add_delete(_FILE, files.delete)
    router.add_options(_FILE, options.options)
    router.add_route("MKCOL", _FILE, folders.make)
    router.add_route("MOVE", _FILE, folders.move)
    for folder in _FOLDERS:
        router.add_get(folder, _show_folder)
        router.add_post(folder, _post_to_folder)
        router.add_put(folder, folders.refuse_upload)
        router.add_delete(folder, folders.delete)
        router.add_options(folder, options.options)
        router.add_route("MKCOL", folder, folders.make)
        router.add_route("MOVE", folder, folders.move)
    router.add_options(_UPLOADS, options.options)
    router.add_options(_UPLOAD, options.options)
    router.add_head(_UPLOAD, uploads.head)
    router.add_patch(_UPLOAD, uploads.patch)
    router.add_delete(_UPLOAD, uploads.delete)
    router.add_get("/sse/changes", changes.changes)
    router.add_get("/sse/progress", progress.progress)
    router.add_get("/api/session", service.session)
    router.add_get("/openapi.json", service.openapi)
    router.add_get("/healthz", service.healthz)
    router.add_get("/readyz", service.readyz)
    router.add_get("/metrics", service.metrics)
    router.add_get(_PAGE, static.serve)


async def _show_folder(request: web.Request) -> web.StreamResponse:
    """GET, HEAD of a folder: its index, or with ``?archive=`` all that is in it as one file."""
    archived = request.query_string and "archive" in request.query
    return await (archives.archive if archived else index.index)(request)


async def _post_file(request: web.Request) -> web.StreamResponse:
    """POST of a file: an upload of it, or by tus the start of one."""
    resumable = tus.requested(request.headers)
    return await (uploads.create if resumable else files.upload)(request)


async def _post_to_folder(request: web.Request) -> web.StreamResponse:
    """POST to a folder: by tus the start of an upload into it."""
    resumable = tus.requested(request.headers)
    return await (uploads.create if resumable else folders.refuse_upload)(request)
