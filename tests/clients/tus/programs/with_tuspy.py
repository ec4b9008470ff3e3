"""Uploads a file with tuspy, as with_node.js does, and with the same arguments."""

from __future__ import annotations

import sys
from pathlib import Path

from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage


def main() -> None:
    folder, path, name, token, chunk, storage = sys.argv[1:]
    uploader = TusClient(folder, headers={"Authorization": token}).uploader(
        path,
        metadata={"filename": name},
        chunk_size=int(chunk) or Path(path).stat().st_size,
        retries=20,
        retry_delay=0.1,
        store_url=True,
        url_storage=FileStorage(storage),  # type: ignore[no-untyped-call,unused-ignore]
    )
    if uploader.url:
        print(f"goes on at {uploader.offset}", flush=True)
    uploader.upload()


if __name__ == "__main__":
    main()
