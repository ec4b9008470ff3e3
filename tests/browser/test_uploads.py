"""Uploads in the page: progress, the queue, names that are taken, and what is refused."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import SignIn, Site, Window
from tests.browser.uploading import MB, Sent, digest, made, pick, slow_down, stored, tray, upload_of
from tests.support.credentials import bearer


def test_the_progress_of_a_large_upload_is_what_the_service_has_stored(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    path = made(tmp_path / "fifty.bin", 50 * MB)
    sign_in(page, at=f"/ns/{namespace}")
    slow_down(page, 20)
    sent = Sent(page)
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
    assert not [url for _, url, _ in sent.calls if "/sse/" in url]
    assert sent.offsets == sorted(set(sent.offsets))
    page.wait_for_timeout(200)
    tray(page).get_by_role("button", name="Close").click()
    expect(tray(page)).to_have_count(0)


def test_a_name_that_is_taken_is_asked_about(
    site: Site, window: Window, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    page = window(strict=False).new_page()  # a refusal shows on the console
    names = [f"{i}.txt" for i in range(5)]
    paths = {name: made(tmp_path / name, 100) for name in names}
    site.store(namespace, dict.fromkeys(names, b"old"))
    old = hashlib.sha256(b"old").hexdigest()
    sign_in(page, at=f"/ns/{namespace}")
    pick(page, *paths.values())
    dialog = page.get_by_role("dialog", name="That name is taken")
    expect(tray(page).locator("li.clash")).to_have_count(5)

    def choose(how: str) -> str:
        name: str = dialog.locator("strong").inner_text()
        dialog.get_by_role("button", name=how).click()
        expect(dialog.locator("strong")).not_to_have_text(name)
        return name

    replaced, kept, skipped = choose("Replace"), choose("Keep both"), choose("Skip")
    dialog.get_by_role("checkbox").check()
    dialog.get_by_role("button", name="Replace").click()
    expect(tray(page).locator("li.done")).to_have_count(4)
    expect(dialog).to_have_count(0)
    wanted = {name: digest(path) for name, path in paths.items()}
    wanted[f"{kept[0]} (2).txt"] = wanted[kept]
    wanted |= {kept: old, skipped: old}
    assert stored(site, namespace) == wanted
    assert wanted[replaced] != old
    expect(page.locator(".row")).to_have_count(6)


def sessions(site: Site) -> set[str]:
    """What the store keeps of uploads that have begun."""
    return {path.name for path in (site.data / "files" / "~uploads").glob("*")}


def test_an_upload_that_is_cancelled_leaves_nothing_and_can_begin_again(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    paths = [made(tmp_path / f"{i}.bin", 6 * MB) for i in range(5)]
    before = sessions(site)
    sign_in(page, at=f"/ns/{namespace}")
    slow_down(page, 2)
    pick(page, *paths)
    uploads = tray(page)
    expect(uploads.locator("li.running")).to_have_count(2)
    expect(uploads.locator("li.queued")).to_have_count(3)
    left = page.evaluate("() => !dispatchEvent(new Event('beforeunload', {cancelable: true}))")
    assert left, "leaving is not questioned"
    for i in range(3):
        uploads.get_by_role("button", name=f"Cancel {i}.bin").click()
    expect(uploads.locator("li.cancelled")).to_have_count(3)
    slow_down(page, 50)
    expect(uploads.locator("li.done")).to_have_count(2)
    assert sorted(stored(site, namespace)) == ["3.bin", "4.bin"]
    assert page.evaluate("localStorage.length") == 0
    uploads.get_by_role("button", name="Upload 0.bin again").click()
    expect(uploads.locator("li.done")).to_have_count(3)
    assert stored(site, namespace)["0.bin"] == digest(paths[0])
    left = page.evaluate("() => !dispatchEvent(new Event('beforeunload', {cancelable: true}))")
    assert not left
    assert sessions(site) <= before


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
    page.dispatch_event("main", "dragover", {"dataTransfer": data})
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


def test_many_small_files_cost_one_request_each(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    names = [f"{i:03}.bin" for i in range(200)]
    paths = [made(tmp_path / name, 1000) for name in names]
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.get_by_text("Drop files here")).to_be_visible()
    sent = Sent(page)
    pick(page, *paths)
    expect(tray(page).get_by_role("heading")).to_have_text("200 files uploaded", timeout=60_000)
    expect(tray(page).locator("li.done")).to_have_count(100)
    expect(tray(page)).to_contain_text("and 100 more")
    expect(page.get_by_role("link", name=namespace)).to_contain_text("200")
    assert sorted(stored(site, namespace)) == names
    assert len(sent.calls) <= 1.2 * len(names)


def test_failures_come_first_and_can_be_tried_again_together(
    site: Site, window: Window, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    page = window(strict=False).new_page()
    page.route("**/storage/*/bad-*", lambda route: route.fulfill(status=507, body="{}"))
    paths = [made(tmp_path / name, 100) for name in ("a", "b", "bad-1", "bad-2", "c")]
    sign_in(page, at=f"/ns/{namespace}")
    pick(page, *paths)
    expect(tray(page).get_by_role("heading")).to_have_text("2 files not uploaded")
    expect(tray(page).locator(".upload-name")).to_have_text(["bad-1", "bad-2", "a", "b", "c"])
    page.unroute("**/storage/*/bad-*")
    tray(page).get_by_role("button", name="Retry all").click()
    expect(tray(page).get_by_role("heading")).to_have_text("5 files uploaded")
    assert len(stored(site, namespace)) == 5


def test_a_name_that_the_service_does_not_take_can_be_mended(
    site: Site, window: Window, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    page = window(strict=False).new_page()
    path = made(tmp_path / " spaced\t.txt ", 100)
    sign_in(page, at=f"/ns/{namespace}")
    pick(page, path)
    upload = tray(page).locator("li.failed")
    upload.get_by_role("button", name="Rename").click()
    dialog = page.get_by_role("dialog", name="Upload under another name")
    expect(dialog.get_by_label("Name")).to_have_value("spaced_.txt")
    dialog.get_by_label("Name").fill("spaced.txt")
    dialog.get_by_role("button", name="Upload").click()
    expect(upload_of(page, "spaced.txt")).to_have_class(re.compile("done"))
    assert stored(site, namespace) == {"spaced.txt": digest(path)}


def test_what_is_uploaded_can_be_opened_and_shared_from_the_tray(
    page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    path = tmp_path / "note.txt"
    path.write_text("hello")
    sign_in(page, at=f"/ns/{namespace}")
    pick(page, path)
    upload_of(page, "note.txt").get_by_role("button", name="note.txt", exact=True).click()
    expect(page.get_by_role("dialog", name="note.txt")).to_contain_text("5 bytes")
    page.keyboard.press("Escape")
    upload_of(page, "note.txt").get_by_role("button", name="Copy link to note.txt").click()
    expect(page.get_by_label("Address")).to_have_value(re.compile("token="))
