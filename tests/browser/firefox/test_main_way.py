"""The main way through the page in Firefox: sign in, upload, find, look, change, take, sign out."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import SignIn, Site


def test_sign_in_upload_look_and_sign_out(
    site: Site, page: Page, sign_in: SignIn, namespace: str, tmp_path: Path
) -> None:
    texts = {"one.txt": "The first.", "two.csv": "a,b\n1,2\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    sign_in(page)
    page.get_by_role("navigation").get_by_role("link", name=namespace).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(namespace)
    page.locator("main label.button input[type=file]").set_input_files(
        [tmp_path / name for name in texts]
    )
    expect(page.locator("li.upload.done")).to_have_count(len(texts))
    expect(page.locator(".row")).to_have_count(len(texts))
    page.locator(".row .name", has_text="one.txt").click()
    shown = page.get_by_role("dialog").frame_locator("iframe").locator("body")
    expect(shown).to_contain_text("The first.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in").first).to_be_visible()
