"""The states of the page, and how each of them comes about: for ``test_accessible`` and
``screenshots``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.uploading import MB, pick, slow_down
from tests.support.credentials import bearer


@dataclass
class Scene:
    """The page of alice, before something happens there."""

    site: Site
    page: Page
    namespace: str
    tmp_path: Path

    def go(self, at: str = "") -> Page:
        self.page.goto(f"{self.site.url}/ns/{self.namespace}{at}")
        expect(self.page.get_by_role("heading", level=1)).to_be_visible()
        return self.page

    def listed(self, at: str = "") -> Page:
        page = self.go(at)
        expect(page.locator(".row").nth(1)).to_be_visible()
        return page

    def menu(self) -> Page:
        page = self.listed()
        page.get_by_role("row", name="notes.txt").get_by_role("button", name="Actions").click()
        return page

    def dialog(self) -> None:
        expect(self.page.get_by_role("dialog")).to_be_visible()

    def pick(self, name: str, size: int) -> None:
        path = self.tmp_path / name
        with path.open("wb") as file:
            file.truncate(size)
        pick(self.page, path)


State = Callable[[Scene], object]
STATES: dict[str, State] = {}


def state(act: State) -> State:
    STATES[act.__name__] = act
    return act


@state
def visitor(scene: Scene) -> None:
    page = scene.page
    page.evaluate("sessionStorage.clear()")
    page.goto(scene.site.url)
    expect(page.get_by_role("button", name="Sign in").first).to_be_visible()


@state
def signing_in(scene: Scene) -> None:
    visitor(scene)
    scene.page.get_by_role("button", name="Sign in").first.click()
    scene.dialog()


@state
def signed_out(scene: Scene) -> None:
    scene.page.evaluate("sessionStorage.setItem('sfs-token', 'a.b.c')")
    scene.page.reload()
    scene.dialog()


@state
def broken_link(scene: Scene) -> None:
    scene.page.evaluate("sessionStorage.clear()")
    scene.page.goto("about:blank")
    scene.page.goto(f"{scene.site.url}/#token=a.b.c")
    scene.dialog()


@state
def files(scene: Scene) -> None:
    scene.listed()


@state
def folder(scene: Scene) -> None:
    scene.listed("/one/two/three/")


@state
def empty_folder(scene: Scene) -> None:
    expect(scene.go("/one/none/").get_by_text("Drop files here")).to_be_visible()


@state
def found(scene: Scene) -> None:
    scene.listed("?find=t")


@state
def nothing_found(scene: Scene) -> None:
    expect(scene.go("?find=zzz").get_by_text("zzz")).to_be_visible()


@state
def sorted_by_size(scene: Scene) -> None:
    scene.listed("?sort=-size")


@state
def selected(scene: Scene) -> None:
    page = scene.listed()
    page.get_by_role("checkbox").nth(2).check()
    page.get_by_role("checkbox").nth(3).check()


@state
def deleting(scene: Scene) -> None:
    selected(scene)
    region = scene.page.get_by_role("region", name="Selection")
    region.get_by_role("button", name="Delete").click()
    scene.dialog()


@state
def menu(scene: Scene) -> None:
    expect(scene.menu().get_by_role("menuitem").first).to_be_focused()


@state
def sharing(scene: Scene) -> None:
    scene.menu().get_by_role("menuitem", name="Copy link").click()
    scene.dialog()


@state
def renaming(scene: Scene) -> None:
    scene.menu().get_by_role("menuitem", name="Rename").click()
    expect(scene.page.get_by_label("New name of notes.txt")).to_be_focused()


@state
def misnamed(scene: Scene) -> None:
    renaming(scene)
    scene.page.keyboard.type("a/b")
    scene.page.keyboard.press("Enter")
    expect(scene.page.get_by_role("row").get_by_role("alert")).to_be_visible()


@state
def new_folder(scene: Scene) -> None:
    scene.listed().get_by_role("button", name="New folder").click()
    scene.dialog()


@state
def moving(scene: Scene) -> None:
    scene.menu().get_by_role("menuitem", name="Move").click()
    dialog = scene.page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="one", exact=True)).to_be_visible()


@state
def moving_to_a_namespace(scene: Scene) -> None:
    moving(scene)
    scene.page.get_by_role("button", name="All namespaces").click()
    expect(scene.page.get_by_role("dialog").get_by_role("button", name="default")).to_be_visible()


@state
def moving_to_a_new_folder(scene: Scene) -> None:
    moving(scene)
    scene.page.get_by_role("dialog").get_by_role("button", name="New folder").click()
    expect(scene.page.get_by_label("Name of the new folder")).to_be_focused()


@state
def moved_name_taken(scene: Scene) -> None:
    moving(scene)
    dialog = scene.page.get_by_role("dialog")
    dialog.get_by_role("button", name="one", exact=True).click()
    dialog.get_by_role("button", name="Move to one").click()
    expect(dialog.get_by_text("That name is taken")).to_be_visible()


@state
def renamed(scene: Scene) -> None:
    page = scene.listed("/one/two/three/")
    page.locator(".row").last.focus()
    page.keyboard.press("F2")
    expect(page.get_by_label("New name of")).to_be_focused()
    page.keyboard.type("renamed")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()


@state
def deleting_a_folder(scene: Scene) -> None:
    page = scene.listed()
    page.get_by_role("row", name="one").get_by_role("button", name="Actions").click()
    page.get_by_role("menuitem", name="Delete").click()
    expect(page.get_by_role("dialog").get_by_role("status")).to_contain_text("files in it")


@state
def rail(scene: Scene) -> None:
    page = scene.listed()
    toggle = page.locator(".rail-toggle")
    if toggle.is_visible():
        toggle.click()
    expect(page.get_by_role("button", name="New namespace")).to_be_visible()


@state
def new_namespace(scene: Scene) -> None:
    rail(scene)
    scene.page.get_by_role("button", name="New namespace").click()
    scene.dialog()


@state
def deleting_a_namespace(scene: Scene) -> None:
    page = scene.listed()
    page.get_by_role("button", name="Actions on this namespace").click()
    page.get_by_role("menuitem", name="Delete namespace").click()
    scene.dialog()


@state
def no_such_namespace(scene: Scene) -> None:
    scene.page.goto(f"{scene.site.url}/ns/absent")
    expect(scene.page.get_by_role("alert")).to_be_visible()


@state
def no_such_folder(scene: Scene) -> None:
    expect(scene.go("/absent/").get_by_role("alert")).to_be_visible()


@state
def no_such_address(scene: Scene) -> None:
    scene.page.goto(f"{scene.site.url}/nowhere")
    expect(scene.page.get_by_role("alert")).to_be_visible()


@state
def error_page(scene: Scene) -> None:
    scene.page.goto(f"{scene.site.url}/storage/default/absent")


@state
def unreachable(scene: Scene) -> None:
    page = scene.listed()
    page.route("**/healthz", lambda route: route.abort())
    page.route("**/storage/files?*", lambda route: route.abort())
    page.get_by_role("searchbox").first.fill("a")
    expect(page.get_by_text("cannot be reached").first).to_be_visible()
    page.unroute_all()


def _viewing(name: str) -> State:
    def look(scene: Scene) -> None:
        page = scene.go(f"/{name}")
        scene.dialog()
        expect(page.get_by_role("dialog").get_by_role("link").first).to_be_visible()

    return look


FILES = {
    "notes.txt": b"Tuesday\n" * 50,
    "table.csv": b"a,b\n1,2\n",
    "readme.md": b"# Read me\n\n- one [link](https://example.org)\n- two\n",
    "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><circle r="30"/></svg>',
    "film.mp4": b"x",
    "sound.mp3": b"x",
    "paper.pdf": b"%PDF-1.4\n",
    "bytes.bin": b"x",
    f"\u05e9\u05dc\u05d5\u05dd {'x' * 200}.txt": b"x",
    f"bird 🐦 {'y' * 200}.zip": b"x",
}
STATES |= {f"viewing {name}": _viewing(name) for name in [*FILES][:8]}


@state
def uploaded(scene: Scene) -> None:
    scene.listed()
    scene.pick("new.bin", 1000)
    expect(scene.page.locator("li.upload.done")).to_be_visible()


@state
def folded(scene: Scene) -> None:
    scene.listed()
    scene.pick("folded.bin", 1000)
    expect(scene.page.locator("li.upload.done")).to_be_visible()
    scene.page.get_by_role("button", name="Fold", exact=True).click()


@state
def name_taken(scene: Scene) -> None:
    scene.listed()
    scene.pick("bytes.bin", 2)
    scene.dialog()


@state
def not_uploaded(scene: Scene) -> None:
    scene.listed()
    scene.pick(" new.bin", 1)
    expect(scene.page.locator("li.upload.failed")).to_be_visible()


@state
def another_name(scene: Scene) -> None:
    not_uploaded(scene)
    scene.page.get_by_role("button", name="Rename").click()
    scene.dialog()


@state
def uploading(scene: Scene) -> None:
    scene.listed()
    slow_down(scene.page, 1)
    scene.pick("large.bin", 9 * MB)
    expect(scene.page.locator("li.upload.running")).to_be_visible()


@state
def signing_out(scene: Scene) -> None:
    uploading(scene)
    toggle = scene.page.locator(".rail-toggle")
    if toggle.is_visible():
        toggle.click()
    scene.page.get_by_role("button", name="Sign out").click()
    scene.dialog()


@state
def unfinished(scene: Scene) -> None:
    uploading(scene)
    scene.page.reload()
    expect(scene.page.locator("li.upload.unfinished").first).to_be_visible()


@state
def dropping(scene: Scene) -> None:
    page = scene.listed()
    data = page.evaluate_handle(
        "() => { const d = new DataTransfer(); d.items.add(new File(['x'], 'x')); return d; }"
    )
    for event in ("dragenter", "dragover"):
        page.dispatch_event("main", event, {"dataTransfer": data})
    expect(page.locator(".drop")).to_be_visible()


@state
def loading(scene: Scene) -> None:
    scene.page.route("**/storage/files?*", lambda route: None)
    expect(scene.go().locator(".bone-row").first).to_be_visible()
    scene.page.unroute_all()


def make(site: Site, page: Page, namespace: str) -> None:
    page.request.post(
        f"{site.url}/storage/namespaces",
        data={"name": namespace, "hidden": True},
        headers=bearer(),
    )
    site.store(namespace, FILES)
    for below in ("one/two/three", "one/none"):
        (site.data / "files" / namespace / below).mkdir(parents=True)
    (site.data / "files" / namespace / "one" / "notes.txt").write_bytes(b"x")
    for number in range(3):
        (site.data / "files" / namespace / "one/two/three" / f"{number}.txt").write_bytes(b"x")
