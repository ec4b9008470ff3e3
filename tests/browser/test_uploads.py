"""Uploads in the page: progress, the queue, names that are taken, and what goes wrong."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import SignIn, Site, Window
from tests.support.credentials import bearer
from tests.support.launcher import Process
from tests.support.postgres import Postgres

MB = 1_000_000


def slow_down(page: Page, megabytes_per_second: float) -> None:
    """Let the browser send no faster."""
    page.context.new_cdp_session(page).send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": 0,
            "downloadThroughput": -1,
            "uploadThroughput": megabytes_per_second * MB,
        },
    )


def made(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def pick(page: Page, *paths: Path) -> None:
    page.locator("main label.button input[type=file]").set_input_files(list(paths))


def upload_of(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name="Uploads").locator("li.upload", has_text=name)


def stored(site: Site, namespace: str) -> dict[str, str]:
    directory = site.data / "files" / namespace
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_progress_of_a_large_upload_is_what_the_service_has_stored(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    path = made(tmp_path / "fifty.bin", 50 * MB)
    sign_in(page, at=f"/ns/{namespace}")
    slow_down(page, 20)
    streams: list[str] = []
    page.on("request", lambda request: streams.append(request.url))
    pick(page, path)
    bar = upload_of(page, "fifty.bin").get_by_role("progressbar")
    seen: list[int] = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        values = bar.evaluate_all("all => all.map(one => Number(one.ariaValueNow))")
        seen += values
        if seen and not values:
            break
        page.wait_for_timeout(50)
    assert seen == sorted(seen)
    assert len(set(seen)) >= 5, seen
    assert seen[0] < 50
    expect(upload_of(page, "fifty.bin").locator(".upload-state")).to_have_text("50 MB")
    expect(page.get_by_role("status").filter(has_text="1 file uploaded")).to_be_attached()
    expect(page.locator(".row", has_text="fifty.bin")).to_be_visible()
    expect(page.get_by_role("link", name=namespace)).to_contain_text("1")
    assert stored(site, namespace) == {"fifty.bin": digest(path)}
    assert len([url for url in streams if "/sse/progress?" in url]) == 1
    page.wait_for_timeout(200)
    page.get_by_role("region", name="Uploads").get_by_role("button", name="Close").click()
    expect(page.get_by_role("region", name="Uploads")).to_have_count(0)


def test_without_an_event_stream_the_progress_is_what_the_browser_has_sent(
    site: Site, window: Window, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    page = window(strict=False).new_page()
    page.route("**/storage/links", lambda route: route.abort())
    page.route("**/sse/**", lambda route: route.abort())
    path = made(tmp_path / "six.bin", 6 * MB)
    sign_in(page, at=f"/ns/{namespace}")
    slow_down(page, 4)
    pick(page, path)
    expect(upload_of(page, "six.bin")).to_contain_text("left")
    expect(page.locator(".row", has_text="six.bin")).to_be_visible()
    assert stored(site, namespace) == {"six.bin": digest(path)}


def test_a_name_that_is_taken_is_asked_about(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    names = [f"{i}.txt" for i in range(5)]
    paths = [made(tmp_path / name, 100) for name in names]
    site.store(namespace, dict.fromkeys(names, b"old"))
    old = hashlib.sha256(b"old").hexdigest()
    sign_in(page, at=f"/ns/{namespace}")
    pick(page, *paths)
    dialog = page.get_by_role("dialog", name="That name is taken")
    expect(dialog).to_contain_text("0.txt")
    dialog.get_by_role("button", name="Replace").click()
    expect(dialog).to_contain_text("1.txt")
    dialog.get_by_role("button", name="Keep both").click()
    expect(dialog).to_contain_text("2.txt")
    dialog.get_by_role("button", name="Skip").click()
    expect(dialog).to_contain_text("3.txt")
    dialog.get_by_role("checkbox").check()
    dialog.get_by_role("button", name="Replace").click()
    expect(page.get_by_role("region", name="Uploads").locator("li.done")).to_have_count(4)
    expect(dialog).to_have_count(0)
    found = stored(site, namespace)
    for name in ("0.txt", "3.txt", "4.txt"):
        assert found.pop(name) == digest(tmp_path / name)
    assert found == {"1.txt": old, "1 (2).txt": digest(paths[1]), "2.txt": old}
    expect(page.locator(".row")).to_have_count(6)


def test_an_upload_that_is_cancelled_leaves_nothing_and_can_begin_again(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    paths = [made(tmp_path / f"{i}.bin", 4 * MB) for i in range(5)]
    sign_in(page, at=f"/ns/{namespace}")
    slow_down(page, 2)
    pick(page, *paths)
    uploads = page.get_by_role("region", name="Uploads")
    expect(uploads.locator("li.running")).to_have_count(3)
    expect(uploads.locator("li.queued")).to_have_count(2)
    left = page.evaluate("() => !dispatchEvent(new Event('beforeunload', {cancelable: true}))")
    assert left, "leaving is not questioned"
    for i in range(4):
        uploads.get_by_role("button", name=f"Cancel {i}.bin").click()
    expect(uploads.locator("li.cancelled")).to_have_count(4)
    slow_down(page, 50)
    expect(uploads.locator("li.done")).to_have_count(1)
    assert stored(site, namespace) == {"4.bin": digest(paths[4])}
    uploads.get_by_role("button", name="Upload 0.bin again").click()
    expect(uploads.locator("li.done")).to_have_count(2)
    assert stored(site, namespace)["0.bin"] == digest(paths[0])
    left = page.evaluate("() => !dispatchEvent(new Event('beforeunload', {cancelable: true}))")
    assert not left


def test_files_can_be_dropped_on_the_page(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.get_by_text("Drop files here")).to_be_visible()
    data = page.evaluate_handle(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["dropped"], "it's <dropped> 🐦.txt"));
            return data;
        }"""
    )
    page.dispatch_event("main", "dragenter", {"dataTransfer": data})
    expect(page.get_by_text(f"Drop to upload to {namespace}")).to_be_visible()
    page.dispatch_event("main", "drop", {"dataTransfer": data})
    expect(page.get_by_text("Drop to upload")).to_have_count(0)
    expect(page.locator(".row")).to_contain_text("it's <dropped> 🐦.txt")
    assert stored(site, namespace) == {
        "it's <dropped> 🐦.txt": hashlib.sha256(b"dropped").hexdigest()
    }


def test_a_refusal_is_said_at_the_upload(
    site: Site, window: Window, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    page = window(strict=False).new_page()
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.get_by_text("Drop files here")).to_be_visible()
    answer = page.request.delete(
        f"{site.url}/storage/namespaces/{namespace}",
        headers=bearer(),
    )
    assert answer.status == 200
    pick(page, made(tmp_path / "late.bin", 100))
    upload = upload_of(page, "late.bin")
    expect(upload.locator(".upload-state")).to_have_text("There is no such namespace.")
    expect(upload.get_by_role("button", name="Upload late.bin again")).to_be_visible()


FORM = """async ([target, token, chosen]) => {
    const input = Object.assign(document.createElement("input"), { type: "file", name: "file" });
    if (chosen) {
        const files = new DataTransfer();
        files.items.add(new File(["new"], "café.txt"));
        input.files = files.files;
    }
    const form = document.createElement("form");
    form.append(input);
    const headers = { Authorization: `Bearer ${token}` };
    const body = new FormData(form);
    return (await fetch(target, { method: "POST", headers, body })).status;
}"""


def test_a_form_in_which_no_file_was_chosen_replaces_nothing(
    site: Site, window: Window, namespace: str
) -> None:
    site.store(namespace, {"f": b"old"})
    page = window(strict=False).new_page()
    page.goto(site.url)
    target = f"/storage/{namespace}/f?overwrite=true"
    assert page.evaluate(FORM, [target, site.token(), False]) == 400
    assert (site.data / "files" / namespace / "f").read_bytes() == b"old"
    assert page.evaluate(FORM, [target, site.token(), True]) == 200
    assert (site.data / "files" / namespace / "f").read_bytes() == b"new"


@pytest.fixture
def fragile(postgres: Postgres, tmp_path: Path) -> Iterator[tuple[Site, list[str]]]:
    """A service that a test may kill, and what starts it again on the same port."""
    postgres.execute("CREATE DATABASE fragile")
    data = tmp_path / "fragile"
    arguments = ["-database", postgres.url("fragile")]
    site = Site(Process(data, *arguments), data)
    try:
        yield site, [*arguments, "-addr", f"127.0.0.1:{site.server.port}"]
    finally:
        site.server.kill()
        postgres.execute("DROP DATABASE fragile WITH (FORCE)")


def test_a_service_that_goes_away_and_comes_back_gets_the_whole_file(
    fragile: tuple[Site, list[str]], window: Window, tmp_path: Path
) -> None:
    site, arguments = fragile
    page = window(strict=False).new_page()
    path = made(tmp_path / "ten.bin", 10 * MB)
    page.goto(f"{site.url}#token={site.token()}")
    slow_down(page, 4)
    pick(page, path)
    expect(upload_of(page, "ten.bin")).to_contain_text("left")
    site.server.kill()
    expect(page.get_by_text("Trying again")).to_be_visible()
    expect(upload_of(page, "ten.bin")).to_contain_text("Waiting for the service")
    slow_down(page, 50)
    site.server = Process(site.data, *arguments)
    expect(page.get_by_text("Trying again")).to_have_count(0, timeout=15_000)
    expect(page.locator(".row", has_text="ten.bin")).to_be_visible()
    assert stored(site, "default") == {"ten.bin": digest(path)}


def test_a_file_that_is_added_while_the_service_is_unreachable_shows_when_it_is_back(
    fragile: tuple[Site, list[str]], window: Window, tmp_path: Path
) -> None:
    site, arguments = fragile
    page = window(strict=False).new_page()
    path = made(tmp_path / "later.bin", 100)
    page.goto(f"{site.url}#token={site.token()}")
    expect(page.get_by_text("Drop files here")).to_be_visible()
    site.server.kill()
    pick(page, path)
    expect(page.get_by_text("Trying again")).to_be_visible()
    expect(upload_of(page, "later.bin")).to_have_count(0)  # what shows it cannot be fetched
    site.server = Process(site.data, *arguments)
    expect(upload_of(page, "later.bin").locator(".upload-state")).to_have_text("100 bytes")
    assert stored(site, "default") == {"later.bin": digest(path)}
