"""Finding files by a part of their names, and the addresses of folders, files and searches."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import SignIn, Site, Window

TREE = {
    "Report 2024.txt": b"top",
    "letters/june/REPORT.txt": b"june",
    "letters/june/other.txt": b"other",
    "letters/reports/a.txt": b"a",
    "letters/reports/b.txt": b"b",
    "zoo/elephant.txt": b"big",
}


def paths_shown(page: Page) -> list[str]:
    """The paths that the links of the rows lead to."""
    found = page.locator(".row .name").evaluate_all(
        "all => all.map(one => decodeURIComponent(new URL(one.href).pathname))"
    )
    return [str(path) for path in found]


def test_a_folder_a_file_and_a_search_have_addresses(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, TREE)
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.locator(".row .name")).to_have_text(["letters", "zoo", "Report 2024.txt"])
    page.get_by_role("link", name="letters", exact=True).click()
    expect(page).to_have_url(f"{site.url}/ns/{namespace}/letters/")
    expect(page.get_by_role("heading", level=1)).to_have_text("letters")
    page.get_by_role("link", name="june", exact=True).click()
    expect(page.locator(".row .name")).to_have_text(["REPORT.txt", "other.txt"])
    page.get_by_role("link", name="other.txt").click()
    expect(page).to_have_url(f"{site.url}/ns/{namespace}/letters/june/other.txt")
    dialog = page.get_by_role("dialog", name="other.txt")
    expect(dialog).to_be_visible()
    page.go_back()
    expect(dialog).to_have_count(0)
    expect(page).to_have_url(f"{site.url}/ns/{namespace}/letters/june/")
    page.go_forward()
    expect(dialog).to_be_visible()
    page.reload()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator(".row")).to_have_count(2)
    crumbs = page.get_by_role("navigation", name="Folders above")
    expect(crumbs.get_by_role("link")).to_have_text([namespace, "letters"])
    crumbs.get_by_role("link", name=namespace).click()
    expect(page).to_have_url(f"{site.url}/ns/{namespace}")


def test_an_address_works_for_somebody_else(
    site: Site, page: Page, window: Window, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, TREE)
    sign_in(page, "bob", at=f"/ns/{namespace}/letters/june/other.txt")
    expect(page.get_by_role("dialog", name="other.txt")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(page).to_have_url(f"{site.url}/ns/{namespace}/letters/june/")
    visitor = window(strict=False).new_page()  # a refusal shows on the console
    visitor.goto(f"{site.url}/ns/{namespace}/letters/")
    expect(visitor.get_by_role("heading", name="Sign in to see these files")).to_be_visible()


def test_an_address_without_a_slash_may_be_of_a_folder(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, TREE)
    sign_in(page, at=f"/ns/{namespace}/letters")
    expect(page).to_have_url(f"{site.url}/ns/{namespace}/letters/")
    expect(page.locator(".row")).to_have_count(2)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_does_not_exist_says_so(
    site: Site, window: Window, sign_in: SignIn, namespace: str
) -> None:
    page = window(strict=False).new_page()  # what is not there shows on the console
    site.store(namespace, TREE)
    sign_in(page, at=f"/ns/{namespace}/letters/july/")
    expect(page.get_by_role("heading", name="There is no such folder")).to_be_visible()
    page.get_by_role("button", name="Go to letters").click()
    expect(page.locator(".row")).to_have_count(2)
    page.goto(f"{site.url}/ns/{namespace}/letters/nothing.txt")
    dialog = page.get_by_role("dialog", name="nothing.txt")
    expect(dialog).to_contain_text("There is no such file")
    page.keyboard.press("Escape")
    expect(page.locator(".row")).to_have_count(2)
    page.goto(f"{site.url}/nonsense")
    expect(page.get_by_role("heading", name="There is nothing at this address")).to_be_visible()
    page.get_by_role("button", name="Go to default").click()
    expect(page).to_have_url(f"{site.url}/")


def test_a_part_of_a_name_is_found_in_the_folder_and_below(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, TREE)
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.locator(".row")).to_have_count(3)
    box = page.get_by_role("searchbox", name="Find by a part")
    box.press_sequentially("repo", delay=20)
    expect(page.get_by_text("3 found", exact=True)).to_be_visible()
    at = f"/ns/{namespace}"
    wanted = [f"{at}/letters/reports/", f"{at}/Report 2024.txt", f"{at}/letters/june/REPORT.txt"]
    assert paths_shown(page) == wanted
    expect(page.get_by_text("3 found", exact=True)).to_be_visible()
    expect(page.locator(".row", has_text="REPORT.txt").locator(".within")).to_have_text(
        "letters/june"
    )
    expect(page).to_have_url(re.compile(r"\?find=repo$"))
    page.reload()
    expect(page.locator(".row")).to_have_count(3)
    expect(box).to_have_value("repo")
    page.get_by_role("link", name="REPORT.txt").click()
    expect(page.get_by_role("dialog", name="REPORT.txt")).to_be_visible()
    page.go_back()
    assert paths_shown(page) == wanted
    box.fill("nothing like it")
    expect(page.get_by_role("heading", name="No name here or below contains")).to_be_visible()
    box.press("Escape")
    expect(page.locator(".row")).to_have_count(3)
    expect(page).to_have_url(f"{site.url}/ns/{namespace}")
    expect(page.locator(".row .name").first).to_have_text("letters")


def test_a_search_in_a_folder_stays_in_it(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, TREE)
    sign_in(page, at=f"/ns/{namespace}/letters/")
    page.get_by_role("searchbox").fill("o")
    expect(page.get_by_text("3 found", exact=True)).to_be_visible()
    at = f"/ns/{namespace}/letters"
    assert paths_shown(page) == [f"{at}/reports/", f"{at}/june/REPORT.txt", f"{at}/june/other.txt"]
    row = page.locator(".row", has_text="other.txt")
    row.get_by_role("button", name="Actions on").click()
    page.get_by_role("menuitem", name="Open its folder").click()
    expect(page).to_have_url(f"{site.url}{at}/june/")
    page.go_back()
    expect(page.get_by_role("searchbox")).to_have_value("o")
    expect(page.locator(".row")).to_have_count(3)


def test_a_search_ends_when_another_one_begins(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    """The service is not asked to go on looking for what nobody waits for."""
    site.store(namespace, {f"{n:05d}.txt": b"" for n in range(1500)})
    sign_in(page, at=f"/ns/{namespace}")
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.route("**/storage/files*contains=0*", lambda route: None)  # that never responds
    page.get_by_role("searchbox").fill("0")
    expect(page.get_by_text("Looking…")).to_be_visible()
    page.get_by_role("searchbox").fill("txt")
    expect(page.get_by_text("1,000 and more found")).to_be_visible()
    assert any("contains=0" in url for url in failed)
    page.keyboard.press("ArrowDown")
    expect(page.locator(".row").first).to_be_focused()
