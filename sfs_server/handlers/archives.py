"""``GET /storage/:ns/[:path/]?archive=zip``: a folder and all below it as one ZIP file."""

from __future__ import annotations

from aiohttp import hdrs, web

from gfs.errors import IsFolder
from gfs.paths import check_name
from gfs.types import Entry, FolderInfo
from sfs_server.archives import ArchivePieces
from sfs_server.auth import Action
from sfs_server.errors import Problem
from sfs_server.http import content_disposition, target
from sfs_server.transfer import send_archive, transfer_of
from sfs_server.web import ARCHIVES, FILESYSTEM, PROGRESS, SEND_POOL, permitted


async def archive(request: web.Request) -> web.StreamResponse:
    """GET, HEAD of a folder with ``?archive=zip``; with ``&name=``, as often as wanted, only those
    files and folders that are right in it."""
    with transfer_of(request, "download") as transfer:
        directory, path, _ = target(request.rel_url.raw_path)
        transfer.namespace = directory
        if request.query.getall("archive") != ["zip"]:
            raise Problem(400, "An archive is a ZIP file: ?archive=zip.")
        await permitted(request, Action.READ, directory, stale_ok=True)
        app = request.app
        fs = app[FILESYSTEM]
        folder = await fs.stat_folder(directory, path)
        entries = await _named(request, folder) if "name" in request.query else None
        async with app[ARCHIVES].contents(fs, folder, entries) as contents:
            response = web.Response(headers=_headers(folder))
            length = contents.length
            if transfer.id:
                app[PROGRESS].start(transfer, length)
            pieces = ArchivePieces(fs, folder, contents, app[SEND_POOL])
            await send_archive(request, response, pieces, length, transfer)
            return response


async def _named(request: web.Request, folder: FolderInfo) -> list[Entry]:
    """What ``?name=`` names, each once. Raises NoSuchFile."""
    fs = request.app[FILESYSTEM]
    found: list[Entry] = []
    for name in dict.fromkeys(request.query.getall("name")):
        path = f"{folder.path}/{check_name(name)}" if folder.path else check_name(name)
        try:
            found.append(await fs.stat(folder.directory, path))
        except IsFolder:
            found.append(await fs.stat_folder(folder.directory, path))
    return found


def _headers(folder: FolderInfo) -> dict[str, str]:
    name = f"{folder.name or folder.directory}.zip"
    return {
        hdrs.ACCEPT_RANGES: "none",
        hdrs.CACHE_CONTROL: "private, no-cache",
        hdrs.CONTENT_DISPOSITION: content_disposition("attachment", name),
        hdrs.CONTENT_TYPE: "application/zip",
        hdrs.VARY: "Authorization, Cookie, Origin",
        "X-Content-Type-Options": "nosniff",
    }
