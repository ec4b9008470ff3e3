"""A list keeps itself true: what another client changes is seen without a reload."""

from __future__ import annotations

import re
import urllib.parse
import urllib.request
from pathlib import Path

from playwright.sync_api import Locator, Page, Request, expect

from sfs_server.auth.tokens import mint
from tests.browser.conftest import SignIn, Site, Window
from tests.browser.test_files import names_shown
from tests.browser.test_much import at_top
from tests.support.credentials import SECRET
from tests.support.launcher import Process


class Other:
    """Another client of the service, as the same user."""

    def __init__(self, site: Site, namespace: str) -> None:
        self._base = f"{site.url}/storage/{namespace}/"
        self._token = mint(SECRET, user="alice", ttl=3600)

    def _do(self, method: str, path: str, body: bytes | None = None, **fields: str) -> None:
        url = self._base + urllib.parse.quote(path)
        headers = {"Authorization": f"Bearer {self._token}", **fields}
        request = urllib.request.Request(url, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=15) as response:
            response.read()

    def put(self, path: str, body: bytes = b"x") -> None:
        self._do("PUT", path, body)

    def delete(self, path: str) -> None:
        self._do("DELETE", path)

    def make_folder(self, path: str) -> None:
        self._do("MKCOL", f"{path}/")

    def move(self, path: str, to: str) -> None:
        self._do("MOVE", path, Destination=self._base + urllib.parse.quote(to), Overwrite="F")


def opened(page: Page, sign_in: SignIn, at: str) -> None:
    """Go to a list, and wait until its stream is open."""
    with page.expect_response(lambda response: "/sse/changes?" in response.url):
        sign_in(page, at=at)


def streams(page: Page) -> tuple[list[Request], list[Request]]:
    """The streams of changes that the page asks for, and those that have ended."""
    asked: list[Request] = []
    ended: list[Request] = []

    def is_stream(request: Request) -> bool:
        return "/sse/changes?" in request.url

    page.on("request", lambda one: asked.append(one) if is_stream(one) else None)
    page.on("requestfailed", lambda one: ended.append(one) if is_stream(one) else None)
    page.on("requestfinished", lambda one: ended.append(one) if is_stream(one) else None)
    return asked, ended


def test_what_others_change_is_seen_at_its_place(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    other = Other(site, namespace)
    site.store(namespace, {"b.txt": b"b", "d.txt": b"d", "old/x": b"", "old/y": b""})
    opened(page, sign_in, f"/ns/{namespace}")
    name = page.locator(".row .name")
    expect(name).to_have_text(["old", "b.txt", "d.txt"])
    other.put("c.txt")
    expect(name).to_have_text(["old", "b.txt", "c.txt", "d.txt"])
    expect(page.locator(".row.fresh")).to_have_text(re.compile("c.txt"))
    expect(page.locator(".row.fresh")).to_have_count(0)
    other.make_folder("new")
    expect(name).to_have_text(["new", "old", "b.txt", "c.txt", "d.txt"])
    other.move("b.txt", "z.txt")
    expect(name).to_have_text(["new", "old", "c.txt", "d.txt", "z.txt"])
    other.delete("d.txt")
    expect(name).to_have_text(["new", "old", "c.txt", "z.txt"])
    other.put("c.txt", b"x" * 2000)
    expect(page.locator(".row", has_text="c.txt").locator(".c-size")).to_have_text("2.0 kB")
    other.delete("old/")
    expect(name).to_have_text(["new", "c.txt", "z.txt"])
    other.put("below/x.txt")
    expect(name).to_have_text(["below", "new", "c.txt", "z.txt"])


def test_many_changes_at_once_are_seen(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    other = Other(site, namespace)
    site.store(namespace, {"first.txt": b"", "last.txt": b""})
    opened(page, sign_in, f"/ns/{namespace}")
    expect(page.locator(".row")).to_have_count(2)
    for number in range(15):
        other.put(f"m-{number:02}.txt")
    other.delete("first.txt")
    expect(page.locator(".row .name").first).to_have_text("last.txt")
    expect(page.locator(".row")).to_have_count(16)
    count = page.locator(".rail").get_by_role("link", name=namespace).locator(".ns-count")
    expect(count).to_contain_text(re.compile("1[456]"))  # two of them were not put by the service
    assert names_shown(page) == ["last.txt", *(f"m-{number:02}.txt" for number in range(15))]


def test_a_folder_that_is_deleted_while_it_is_shown_says_so(
    site: Site, window: Window, sign_in: SignIn, namespace: str
) -> None:
    page = window(strict=False).new_page()  # what is not there shows on the console
    other = Other(site, namespace)
    site.store(namespace, {"folder/x.txt": b""})
    opened(page, sign_in, f"/ns/{namespace}/folder/")
    expect(page.locator(".row")).to_have_count(1)
    other.delete("folder/")
    expect(page.get_by_role("heading", name="There is no such folder")).to_be_visible()
    other.put("folder/again.txt")
    expect(page.locator(".row .name")).to_have_text(["again.txt"])


def test_what_is_found_is_looked_for_again(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    other = Other(site, namespace)
    site.store(namespace, {"a/report.txt": b"", "b.txt": b""})
    opened(page, sign_in, f"/ns/{namespace}?find=report")
    expect(page.locator(".row")).to_have_count(1)
    other.put("a/deeper/report 2.txt")
    expect(page.locator(".row")).to_have_count(2)
    other.delete("a/report.txt")
    expect(page.locator(".row .name")).to_have_text(["report 2.txt"])


def test_only_a_tab_that_is_seen_has_a_stream_and_only_one(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    other = Other(site, namespace)
    site.store(namespace, {"folder/x.txt": b"", "b.txt": b""})
    asked, ended = streams(page)
    opened(page, sign_in, f"/ns/{namespace}")
    with page.expect_response(lambda response: "/sse/changes?" in response.url):
        page.get_by_role("link", name="folder", exact=True).click()
    expect(page.locator(".row .name")).to_have_text(["x.txt"])
    page.wait_for_timeout(200)
    assert len(asked) - len(ended) == 1
    assert asked[-1].url.endswith(f"namespace={namespace}&folder=folder")
    hidden(page, True)
    page.wait_for_timeout(200)
    assert len(asked) == len(ended)
    other.put("folder/y.txt")
    page.wait_for_timeout(500)
    expect(page.locator(".row .name")).to_have_text(["x.txt"])
    hidden(page, False)
    expect(page.locator(".row .name")).to_have_text(["x.txt", "y.txt"])
    assert len(asked) - len(ended) == 1


def hidden(page: Page, now: bool) -> None:
    """What the browser does when another tab is in front, which a headless one never has."""
    page.evaluate(
        """(now) => {
            Object.defineProperty(document, "hidden", { value: now, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        now,
    )


def test_two_tabs_see_what_each_other_does(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    site.store(namespace, {"a.txt": b"a", "b.txt": b"b"})
    opened(page, sign_in, f"/ns/{namespace}")
    second = page.context.new_page()
    opened(second, sign_in, f"/ns/{namespace}")
    expect(second.locator(".row")).to_have_count(2)
    path = tmp_path / "c.txt"
    path.write_bytes(b"c")
    page.locator("main label.button input[type=file]:not([webkitdirectory])").set_input_files(path)
    for tab in (page, second):
        expect(tab.locator(".row .name")).to_have_text(["a.txt", "b.txt", "c.txt"])
    second.locator(".row", has_text="a.txt").focus()
    second.keyboard.press("Delete")
    second.get_by_role("dialog").get_by_role("button", name="Delete").click()
    for tab in (page, second):
        expect(tab.locator(".row .name")).to_have_text(["b.txt", "c.txt"])


def test_after_a_restart_the_list_is_true_again(
    fragile: tuple[Site, list[str]], window: Window, sign_in: SignIn
) -> None:
    site, arguments = fragile
    page = window(strict=False).new_page()  # what is cut shows on the console
    (site.data / "files" / "default").mkdir(parents=True, exist_ok=True)
    page.goto(f"{site.url}/#token={site.token()}")
    other = Other(site, "default")
    other.put("a.txt")
    expect(page.locator(".row .name")).to_have_text(["a.txt"])
    site.server.kill()
    (site.data / "files" / "default" / "b.txt").write_bytes(b"b")
    expect(page.get_by_text("The service cannot be reached")).to_be_visible()
    site.server = Process(site.data, *arguments)
    expect(page.locator(".row .name")).to_have_text(["a.txt", "b.txt"])
    other.put("c.txt")
    expect(page.locator(".row .name")).to_have_text(["a.txt", "b.txt", "c.txt"])


def test_selection_scroll_focus_and_what_is_typed_stay(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    other = Other(site, namespace)
    site.store(namespace, {f"m-{number:03}.txt": b"" for number in range(300)})
    opened(page, sign_in, f"/ns/{namespace}")
    expect(page.locator(".row").first).to_be_visible()
    page.evaluate("scrollTo(0, 3000)")
    expect(page).to_have_url(re.compile(r"\?at="))
    there = at_top(page)
    number = int(there[2:5])

    def row(by: int) -> Locator:
        return page.locator(".row", has_text=f"m-{number + by:03}.txt")

    row(3).get_by_role("checkbox").check(force=True)
    row(4).focus()
    where = row(4).bounding_box()
    other.put("a first.txt")
    other.delete("m-000.txt")
    other.make_folder("a folder")
    count = page.get_by_role("grid")
    expect(count).to_have_attribute("aria-rowcount", "302")
    assert at_top(page) == there
    assert row(4).bounding_box() == where
    expect(row(4)).to_be_focused()
    expect(page.get_by_role("region", name="Selection")).to_contain_text("1 file")
    other.delete(f"m-{number:03}.txt")  # the row at the top
    expect(count).to_have_attribute("aria-rowcount", "301")
    assert row(4).bounding_box() == where
    other.delete(f"m-{number + 4:03}.txt")  # the one that has the focus
    expect(row(5)).to_be_focused()
    page.keyboard.press("F2")
    field = page.get_by_label("New name of")
    field.fill("half of a na")
    other.put("b second.txt")
    expect(count).to_have_attribute("aria-rowcount", "301")
    expect(field).to_be_focused()
    expect(field).to_have_value("half of a na")
    for name in ("w", "x", "y", "z", "zz"):
        other.put(name)
    page.keyboard.press("Escape")  # many changes wait for that
    expect(count).to_have_attribute("aria-rowcount", "306")
    expect(row(5)).to_be_focused()
