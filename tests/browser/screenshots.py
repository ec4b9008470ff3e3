"""Pictures of the page in its states, to be looked at: ``make screenshots``."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import SignIn, Site, Window
from tests.support.credentials import bearer

TARGET = Path(__file__).parents[2] / "build" / "screenshots"
SIZES = {360: 740, 768: 1024, 1440: 900}
LONG = "a-name-of-a-namespace-that-is-as-long-as-one-can-be-63-letters-"
MONTH = 30 * 24 * 3600

FILES = {
    "annual-report-2026.pdf": 2_481_204,
    "budget.csv": 18_233,
    "Interview - Ada Lovelace, part one (uncut, with the long introduction).mp3": 48_221_004,
    "invoice 0041.docx": 93_120,
    "kestrel-over-the-harbour.jpg": 4_120_334,
    "main.py": 2_190,
    "meeting notes.txt": 912,
    "backup-2026-11-01T03-00-00Z.tar.zst": 120_004_331,
    "site-walkthrough.mp4": 92_300_001,
    "the-name-of-this-file-is-so-long-that-no-screen-in-the-house-shows-it-whole-" * 2
    + "final-v2.txt": 77,
    "<b>bold<b> & \"quoted\" 'name' 🐦.html": 1_204,
    "🏔️ Wanderung.jpeg": 3_901_002,
    "empty": 0,
    "data.json": 40_112,
    "logo.svg": 2_311,
}


def fill(site: Site, namespace: str) -> None:
    """Files of these sizes, without their bytes, of several ages."""
    directory = site.data / "files" / namespace
    directory.mkdir(exist_ok=True)
    for i, (name, size) in enumerate(FILES.items()):
        with (directory / name).open("wb") as file:
            file.truncate(size)
        then = time.time() - (i * i * MONTH / 40)
        os.utime(directory / name, (then, then))
    (directory / "meeting notes.txt").write_text("Tuesday\n\n- who: all of us\n- what: files\n")
    (directory / "logo.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle r="3"/></svg>'
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
@pytest.mark.timeout(180)
def test_pictures(
    site: Site, window: Window, sign_in: SignIn, width: int, scheme: str, tmp_path: Path
) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    context = window(
        strict=False,
        viewport={"width": width, "height": SIZES[width]},
        color_scheme=scheme,
        reduced_motion="reduce",
        has_touch=width < 500,
        is_mobile=width < 500,
    )
    page = context.new_page()

    def shoot(name: str) -> None:
        page.wait_for_timeout(150)
        page.screenshot(path=TARGET / f"{name}-{width}-{scheme}.png")

    alice = bearer()
    for name, hidden in (
        ("photos", False),
        ("empty", False),
        (LONG, True),
        ("letters", True),
    ):
        page.request.post(
            f"{site.url}/storage/namespaces",
            data={"name": name, "hidden": hidden},
            headers=alice,
        )
    fill(site, "photos")

    page.goto(site.url)
    page.get_by_role("heading", name="Nothing here yet").wait_for()
    shoot("01-visitor")
    page.get_by_role("button", name="Sign in").last.click()
    page.get_by_label("Token").fill("no token")
    page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    page.get_by_role("dialog").get_by_role("alert").wait_for()
    shoot("02-sign-in-wrong")

    sign_in(page)
    page.goto(f"{site.url}/ns/empty")
    page.get_by_text("Drop files here").wait_for()
    shoot("03-empty")
    page.goto(f"{site.url}/ns/nowhere")
    page.get_by_text("There is no such namespace").wait_for()
    shoot("04-no-such-namespace")

    page.goto(f"{site.url}/ns/photos")
    page.get_by_role("row").nth(3).wait_for()
    shoot("05-files")
    if width < 700:
        page.get_by_role("button", name="photos").click()
        shoot("06-rail")
        page.get_by_role("button", name="photos").click()
    row = page.get_by_role("row", name="kestrel")
    row.get_by_role("button", name="Actions").click()
    shoot("07-menu")
    page.get_by_role("menuitem", name="Copy link").click()
    page.get_by_label("Address").wait_for()
    page.wait_for_timeout(300)
    shoot("08-link")
    page.keyboard.press("Escape")
    for i in (1, 3, 5):
        page.get_by_role("row").nth(i).get_by_role("checkbox").click()
    shoot("09-selected")
    page.get_by_role("region", name="Selection").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").wait_for()
    shoot("10-delete")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Select none").click()
    page.get_by_role("button", name="meeting notes.txt", exact=True).click()
    page.get_by_role("dialog").locator("iframe").wait_for()
    page.wait_for_timeout(300)
    shoot("11-viewer")
    page.keyboard.press("Escape")
    page.get_by_role("searchbox").fill("zzz")
    page.get_by_text("No name begins with").wait_for()
    shoot("12-no-match")
    page.get_by_role("button", name="Show all files").click()
    page.get_by_role("row").nth(3).wait_for()

    pictures_of_uploads(page, shoot, tmp_path)
    pictures_of_namespaces(page, shoot)
    pictures_of_the_rest(site, page, shoot)
    page.route("**/storage/files?*", lambda route: route.abort())
    page.route("**/healthz", lambda route: route.abort())
    page.reload()
    page.get_by_text("Trying again").wait_for()
    shoot("18-unreachable")
    page.unroute("**/healthz")
    page.goto(f"{site.url}/storage/default/absent")
    shoot("19-error-page-404")
    page.goto(f"{site.url}/storage/photos/budget.csv")
    shoot("20-error-page-401")


def pictures_of_the_rest(site: Site, page: Page, shoot: object) -> None:
    assert callable(shoot)
    page.goto(f"{site.url}/ns/{LONG}")
    page.get_by_text("Drop files here").wait_for()
    shoot("21-long-name")
    data = page.evaluate_handle(
        "() => { const d = new DataTransfer(); d.items.add(new File(['x'], 'x')); return d; }"
    )
    page.dispatch_event("main", "dragenter", {"dataTransfer": data})
    shoot("22-drop")
    page.dispatch_event("main", "dragleave", {"dataTransfer": data})
    page.route("**/storage/files?*", lambda route: None)
    page.goto(f"{site.url}/ns/photos")
    page.locator(".bone-row").first.wait_for()
    shoot("23-loading")
    page.unroute("**/storage/files?*")
    directory = site.data / "files" / "letters"
    for i in range(700):
        (directory / f"letter-{i:04}.txt").write_text("Dear all, " * i)
    page.goto(f"{site.url}/ns/letters")
    page.get_by_role("row").nth(3).wait_for()
    page.evaluate("scrollTo(0, 5000)")
    page.wait_for_timeout(500)
    shoot("24-scrolled")
    page.evaluate("scrollTo(0, 0)")
    page.get_by_role("button", name="Modified").click()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.get_by_text("loaded so far").wait_for()
    shoot("25-sorted")
    page.evaluate("scrollTo(0, 0)")
    page.route("**/storage/links", lambda route: route.abort())
    page.locator(".row .name").nth(2).click()
    page.locator(".notice").wait_for()
    page.locator(".row").nth(4).focus()
    page.keyboard.press("ArrowDown")
    shoot("26-notice-and-focus")
    page.unroute("**/storage/links")


def pictures_of_uploads(page: Page, shoot: object, tmp_path: Path) -> None:
    assert callable(shoot)
    slow = page.context.new_cdp_session(page)
    slow.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 6_000_000},
    )
    paths = []
    for name in (
        "a-film-of-forty-megabytes.mkv",
        "an-upload-with-quite-a-long-name-that-does-not-fit-there.iso",
        "c.bin",
        "d.bin",
        "budget.csv",
    ):
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(200 if name == "budget.csv" else 20_000_000)
        paths.append(path)
    page.locator("input[type=file]").first.set_input_files(paths[:4])
    page.get_by_text("left").first.wait_for()
    page.wait_for_timeout(700)
    shoot("13-uploading")
    page.get_by_role("button", name="Cancel all").click()
    page.locator("input[type=file]").first.set_input_files(paths[4:])
    page.get_by_role("dialog").wait_for()
    shoot("14-clash")
    page.get_by_role("button", name="Skip").click()
    shoot("15-cancelled")
    page.get_by_role("region", name="Uploads").get_by_role("button", name="Close").click()
    slow.detach()


def pictures_of_namespaces(page: Page, shoot: object) -> None:
    assert callable(shoot)
    toggle = page.get_by_role("button", name="photos", expanded=False)
    if toggle.is_visible():
        toggle.click()
    page.get_by_role("button", name="New namespace").click()
    page.get_by_label("Name", exact=True).fill("photos")
    page.get_by_role("button", name="Create").click()
    page.get_by_role("dialog").get_by_role("alert").wait_for()
    shoot("16-new-namespace")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Actions on this namespace").click()
    page.get_by_role("menuitem", name="Delete namespace").click()
    page.get_by_role("dialog").wait_for()
    shoot("17-delete-namespace")
    page.keyboard.press("Escape")
