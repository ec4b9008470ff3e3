"""What axe-core finds, and what fits on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignIn, Site, Window
from tests.browser.states import STATES, Scene, make

LOOKS: dict[str, dict[str, Any]] = {
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True},
    "desk, dark": {"color_scheme": "dark"},
    "zoomed": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
}
FINGER = 44
"""Pixels that a finger needs, but for a link in a text."""

SMALL = f"""() => {{
  const scope = [...document.querySelectorAll("dialog[open], [role=menu]")].at(-1) ?? document;
  const all = scope.querySelectorAll("a, button, label:has(input), input:not(label *)");
  return [...all]
    .filter((one) => one.checkVisibility() && !one.matches(".skip"))
    .filter((one) => getComputedStyle(one).display !== "inline")
    .map((one) => [one, (one.matches(".name") ? one.closest(".row") : one).getBoundingClientRect()])
    .filter(([, {{ width, height }}]) => width < {FINGER} || height < {FINGER})
    .map(([one, {{ width, height }}]) => `${{width}}x${{height}} ${{one.outerHTML}}`);
}}"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("look", LOOKS)
def test_nothing_stands_in_the_way_of_anybody(
    site: Site, window: Window, sign_in: SignIn, look: str, tmp_path: Path
) -> None:
    """In no state does axe find anything, or does anything stick out at the side."""
    options = {"strict": False, "bypass_csp": True, "reduced_motion": "reduce"}  # for axe
    namespace = f"axe-{look.partition(',')[0]}"
    wrong = []
    for name, act in STATES.items():
        page = window(**options, **LOOKS[look]).new_page()
        page.on("dialog", lambda dialog: dialog.accept())  # leaving while something is uploaded
        if name == next(iter(STATES)):
            make(site, page, namespace)
        sign_in(page)
        act(Scene(site, page, namespace, tmp_path))
        page.wait_for_timeout(250)  # for what fades in: half faded it has half the contrast
        found = Axe().run(page)
        if found.violations_count:
            wrong.append(f"{name}: {found.generate_report()}")
        wide, view = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        if wide > view:
            wrong.append(f"{name}: {wide} pixels wide")
        if look == "phone" and name != "error_page":
            wrong += [f"{name}: {small}" for small in page.evaluate(SMALL)]
        page.context.close()
    assert not wrong, "\n".join(wrong)


def test_all_can_be_reached_with_the_tab_key(
    site: Site, page: Page, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, {"a.txt": b"a", "b.txt": b"b"})
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.locator(".row")).to_have_count(2)
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """(() => {
                    const a = document.activeElement;
                    return a.ariaLabel || a.labels?.[0]?.innerText || a.innerText || a.type || "";
                })()"""
            ).strip()
        )
    for name in (
        "New namespace",
        "Sign out",
        "Upload",
        "Actions on this namespace",
        "Name",
        "Size",
    ):
        assert any(name in one for one in reached), (name, reached)
    for name in ("Select a.txt", "Download a.txt", "Actions on a.txt"):
        assert name in reached
    assert "Select b.txt" not in reached  # the table is one stop


def test_a_finger_opens_a_row_wherever_it_is_and_a_mouse_only_by_its_name(
    site: Site, window: Window, sign_in: SignIn, namespace: str
) -> None:
    site.store(namespace, {"a.txt": b"a", "b.txt": b"b"})
    phone = window(**LOOKS["phone"]).new_page()
    sign_in(phone, at=f"/ns/{namespace}")
    phone.get_by_role("row", name="a.txt").tap(position={"x": 240, "y": 45})
    expect(phone).to_have_url(f"{site.url}/ns/{namespace}/a.txt")
    desk = window().new_page()
    sign_in(desk, at=f"/ns/{namespace}")
    row = desk.get_by_role("row", name="a.txt")
    row.click(position={"x": 400, "y": 18})
    expect(row).to_have_attribute("aria-selected", "false")
    assert desk.url == f"{site.url}/ns/{namespace}"
    row.get_by_role("link").click()
    expect(desk).to_have_url(f"{site.url}/ns/{namespace}/a.txt")
