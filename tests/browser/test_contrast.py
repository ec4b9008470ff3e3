"""What can be used, is selected or has the focus stands out from what is behind it, 3 to 1 (WCAG
1.4.11), by the colours that the browser has computed or drawn."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import SignIn, Site, Window

ENOUGH = 3.0
FORCED = "forced"

RATIO = """
const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) =>
  0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b) + 0.05;
const ratio = (a, b) => {
  const [more, less] = [light(a), light(b)].sort((x, y) => y - x);
  return more / less;
};
"""

COMPUTED = f"""(element, [what, pseudo]) => {{
{RATIO}
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const ground = (of) => {{
  for (let at = of; at; at = at.parentElement) {{
    const colour = numbers(getComputedStyle(at).backgroundColor);
    if (colour[3] !== 0) return colour;
  }}
  return [255, 255, 255];
}};
const style = getComputedStyle(element, pseudo);
return ratio(numbers(style[what]), ground(pseudo ? element : element.parentElement));
}}"""

DRAWN = f"""async (png) => {{
{RATIO}
const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
const image = await createImageBitmap(new Blob([bytes]));
const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
canvas.drawImage(image, 0, 0);
const {{ data }} = canvas.getImageData(0, 0, image.width, image.height);
const ground = data.slice(0, 3);
let most = 1;
for (let i = 0; i < data.length; i += 4) most = Math.max(most, ratio(data.slice(i, i + 3), ground));
return most;
}}"""


def computed(of: Locator, what: str, pseudo: str | None = None) -> float:
    """The contrast of a colour of this element with what is behind the element."""
    return float(of.evaluate(COMPUTED, [what, pseudo]))


def drawn(page: Page, of: Locator, inside: tuple[int, int] | None = None) -> float:
    """The highest contrast with the pixel at the upper left, in the picture of this element with a
    margin around it; or only from one x to another inside it."""
    box = of.bounding_box()
    assert box
    margin = 4.0
    clip: Any = {
        "x": box["x"] - margin,
        "y": box["y"] - margin,
        "width": box["width"] + 2 * margin,
        "height": box["height"] + 2 * margin,
    }
    if inside:
        clip |= {"x": box["x"] + inside[0], "width": inside[1] - inside[0]}
        clip |= {"y": box["y"] + margin, "height": box["height"] - 2 * margin}
    png = page.screenshot(clip=clip)
    return float(page.evaluate(DRAWN, base64.b64encode(png).decode()))


@pytest.fixture(params=["light", "dark", FORCED])
def look(request: pytest.FixtureRequest, window: Window) -> Page:
    scheme: str = request.param
    forced = {"forced_colors": "active"} if scheme == FORCED else {"color_scheme": scheme}
    return window(reduced_motion="reduce", **forced).new_page()


def test_what_can_be_used_and_what_is_selected_stands_out(
    site: Site, look: Page, sign_in: SignIn, namespace: str
) -> None:
    page = look
    site.store(namespace, {f"{n}.txt": b"x" for n in range(4)})
    sign_in(page, at=f"/ns/{namespace}")
    rows = page.locator(".row")
    expect(rows).to_have_count(4)
    assert computed(page.locator("main .field"), "borderTopColor") >= ENOUGH, "search"
    boxes = page.get_by_role("checkbox")
    assert drawn(page, boxes.nth(1)) >= ENOUGH, "checkbox"
    boxes.nth(2).check()
    page.mouse.move(0, 0)
    rows.nth(3).focus()
    assert drawn(page, boxes.nth(2)) >= ENOUGH, "checked"
    selected = page.locator('.row[aria-selected="true"]')
    assert computed(selected, "borderLeftColor", "::before") >= ENOUGH, "selected"
    assert drawn(page, selected, (0, 12)) >= ENOUGH, "selected"
    assert drawn(page, rows.nth(0), (0, 12)) < ENOUGH, "not selected"
    current = page.get_by_role("navigation", name="Namespaces").locator("[aria-current]")
    assert computed(current, "borderLeftColor", "::before") >= ENOUGH, "namespace"
    for button in page.locator("main button.button, main label.button").all():
        edge = max(computed(button, "borderTopColor"), computed(button, "backgroundColor"))
        assert edge >= ENOUGH, button.inner_text()
    page.get_by_role("region", name="Selection").get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    for button in dialog.locator("button.button").all():
        edge = max(computed(button, "borderTopColor"), computed(button, "backgroundColor"))
        assert edge >= ENOUGH, button.inner_text()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="New namespace").click()
    assert computed(dialog.get_by_label("Name", exact=True), "borderTopColor") >= ENOUGH
    assert drawn(page, dialog.get_by_role("checkbox")) >= ENOUGH
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Select none").click()
    rows.nth(0).get_by_role("button", name="Actions").click()
    page.get_by_role("menuitem", name="Copy link").click()
    for choice in dialog.locator(".choices label").all():
        assert computed(choice, "borderTopColor") >= ENOUGH, choice.inner_text()


RING = f"""() => {{
const {{ activeElement: active, body }} = document;
if (active === body) return null;  // between the last and the first is the browser itself
const contrast = {COMPUTED};
for (let at = active; at !== body; at = at.parentElement) {{
  const {{ outlineStyle, outlineWidth, opacity }} = getComputedStyle(at);
  if (opacity === "1" && outlineStyle !== "none" && parseFloat(outlineWidth) >= 2)
    return [contrast(at, ["outlineColor", null]), active.outerHTML];
}}
return [0, active.outerHTML];
}}"""


def test_what_has_the_focus_has_a_ring_around_it(
    site: Site, look: Page, sign_in: SignIn, namespace: str
) -> None:
    page = look
    site.store(namespace, {f"{n}.txt": b"x" for n in range(4)})
    sign_in(page, at=f"/ns/{namespace}")
    expect(page.locator(".row")).to_have_count(4)

    def ringed() -> None:
        contrast, said = page.evaluate(RING) or (ENOUGH, "")
        assert contrast >= ENOUGH, said

    for _ in range(30):
        page.keyboard.press("Tab")
        ringed()
    page.locator(".row").nth(1).focus()
    page.keyboard.press("ArrowDown")
    ringed()
    page.get_by_role("button", name="Actions on this namespace").press("Enter")
    expect(page.get_by_role("menuitem").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    ringed()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="New namespace").press("Enter")
    for _ in range(5):
        page.keyboard.press("Tab")
        ringed()
