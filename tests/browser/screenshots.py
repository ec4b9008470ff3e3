"""Pictures of the page in its states, to be looked at: ``make screenshots``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import SignIn, Site, Window
from tests.browser.states import STATES, Scene, make

TARGET = Path(__file__).parents[2] / "build" / "screenshots"
SIZES = {360: 740, 768: 1024, 1440: 900}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
@pytest.mark.timeout(900)
def test_pictures(
    site: Site, window: Window, sign_in: SignIn, width: int, scheme: str, tmp_path: Path
) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    namespace = f"photos-{width}-{scheme}"
    for name, act in STATES.items():
        page = window(
            strict=False,
            viewport={"width": width, "height": SIZES[width]},
            color_scheme=scheme,
            reduced_motion="reduce",
            has_touch=width < 500,
            is_mobile=width < 500,
        ).new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        if not (site.data / "files" / namespace).exists():
            make(site, page, namespace)
        sign_in(page)
        act(Scene(site, page, namespace, tmp_path))
        page.wait_for_timeout(150)
        page.screenshot(path=TARGET / f"{name.replace(' ', '-')}-{width}-{scheme}.png")
        page.context.close()
