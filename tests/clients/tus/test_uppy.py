"""Uppy in Chromium, on a page of another origin, uploads over a line that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.browser.conftest import CHROMIUM, FLAGS
from tests.clients.tus.conftest import CHUNKS, STRIKES, UPLOAD_SECONDS, Line, needed
from tests.support.credentials import bearer
from tests.support.programs import run_program
from tests.support.proxy import Strike

pytest.importorskip("playwright.async_api")
from playwright.async_api import async_playwright


@pytest.fixture
async def page(packages: Path, page_port: int) -> AsyncIterator[str]:
    """The URL of a page of another origin, which has Uppy."""
    output = "--outfile=page.js"
    esbuild = ["node_modules/esbuild/bin/esbuild", "with_uppy.js", "--bundle", output]
    run_program("node", *esbuild, cwd=packages)

    async def html(_: web.Request) -> web.Response:
        text = '<!doctype html><input type="file" multiple><script src="page.js"></script>'
        return web.Response(text=text, content_type="text/html")

    async def script(_: web.Request) -> web.FileResponse:
        return web.FileResponse(packages / "page.js")

    app = web.Application()
    app.router.add_get("/", html)
    app.router.add_get("/page.js", script)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", page_port).start()
    yield f"http://127.0.0.1:{page_port}/"
    await runner.cleanup()


SEND = """(settings) =>
    send({ ...settings, files: [...document.querySelector("input").files] })"""


@pytest.mark.parametrize("strike", STRIKES)
@pytest.mark.parametrize("chunk", CHUNKS, ids=["parts", "whole"])
async def test_uppy_uploads_over_a_line_that_breaks(
    line: Line, file: Path, page: str, chunk: int, strike: Strike
) -> None:
    if CHROMIUM is None:
        needed("Chromium")
    small = file.with_name("small.txt")
    small.write_bytes(b"small")
    settings = {"endpoint": line.url, "token": bearer()["Authorization"], "chunk": chunk}
    async with (
        asyncio.timeout(UPLOAD_SECONDS),
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as browser,
    ):
        tab = await browser.new_page()
        await tab.goto(page)
        await tab.set_input_files("input", [file, small])
        async with line.breaking(strike):
            sent = await tab.evaluate(SEND, settings)
    assert sorted(sent) == ["content", "small.txt"]
    await line.check("content")
    await line.check("small.txt", b"small")
