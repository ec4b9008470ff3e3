"""Who is there: sign in, sign out, what is offered to whom, namespaces."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from sfs_server.auth.tokens import mint
from tests.browser.conftest import SignIn, Site, Window
from tests.support.credentials import SECRET, authorization
from tests.support.tokens import token as made_by_hand


def test_a_link_of_the_banner_signs_in_and_leaves_no_token_behind(
    site: Site, page: Page, sign_in: SignIn
) -> None:
    token = sign_in(page)
    assert page.url == f"{site.url}/"
    expect(page.get_by_text("alice", exact=True)).to_be_attached()
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [
        1,
        0,
        "",
    ]
    page.reload()
    expect(page.get_by_role("button", name="Sign out")).to_be_attached()
    assert token not in page.content()
    page.go_back()
    assert token not in page.url
    page.goto(site.url)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in").first).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def token_of(page: Page) -> str:
    return str(page.evaluate("sessionStorage.getItem('sfs-token')"))


ARRIVALS = ("goto", "hash")
"""How a link is followed: the page is loaded, or only the part behind # changes."""


def follow(page: Page, site: Site, token: str, how: str) -> None:
    """Follow a link with ``token`` in a tab in which the page is open."""
    if how == "hash":
        page.evaluate("token => { location.hash = `token=${token}` }", token)
    else:
        page.goto("about:blank")
        page.goto(f"{site.url}/#token={token}")
    page.wait_for_function("!location.hash")


@pytest.mark.parametrize("how", ARRIVALS)
def test_a_link_of_somebody_else_asks_and_by_itself_changes_nothing(
    site: Site, page: Page, sign_in: SignIn, how: str
) -> None:
    mine = sign_in(page, "alice")
    theirs = mint(SECRET, user="mallory", username="Alice \u202eA.", ttl=3600)
    dialog = page.get_by_role("dialog", name="Sign in as somebody else?")
    for leave in ("Enter", "Escape", "Close"):
        follow(page, site, theirs, how)
        expect(dialog).to_contain_text("signed in as alice")
        expect(dialog).to_contain_text("Alice [U+202E]A. (mallory)")
        assert token_of(page) == mine
        if leave == "Close":
            dialog.get_by_role("button", name="Close").click()
        else:
            page.keyboard.press(leave)  # the focus is on what changes nothing
        expect(dialog).to_have_count(0)
        assert token_of(page) == mine
        expect(page.get_by_text("alice", exact=True)).to_be_attached()
    page.reload()
    expect(page.get_by_text("alice", exact=True)).to_be_attached()
    follow(page, site, theirs, how)
    dialog.get_by_role("button", name="Sign in by the link").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("Alice [U+202E]A.", exact=True)).to_be_attached()
    assert token_of(page) == theirs


@pytest.mark.parametrize("how", ARRIVALS)
def test_a_new_link_of_the_same_person_does_not_ask(
    site: Site, page: Page, sign_in: SignIn, how: str
) -> None:
    sign_in(page, "alice")
    fresh = mint(SECRET, user="alice", username="Alice", ttl=7200)
    follow(page, site, fresh, how)
    expect(page.get_by_text("Alice", exact=True)).to_be_attached()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert token_of(page) == fresh


@pytest.mark.parametrize("how", ARRIVALS)
def test_a_link_that_is_no_good_ends_no_session(
    site: Site, window: Window, sign_in: SignIn, how: str
) -> None:
    page = window(strict=False).new_page()
    mine = sign_in(page, "alice")
    expired = made_by_hand({"exp": 1_000_000_001})
    for bad in ("x", "a.b.c", expired, mine[:-4] + "AAAA"):
        follow(page, site, bad, how)
        notice = page.locator(".notice.error", has_text="does not sign you in").last
        expect(notice).to_be_visible()
        notice.get_by_role("button", name="Dismiss").click()
        expect(page.get_by_text("alice", exact=True)).to_be_attached()
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert token_of(page) == mine
    page.reload()
    expect(page.get_by_text("alice", exact=True)).to_be_attached()


def test_a_link_signs_in_where_the_session_has_ended(
    site: Site, window: Window, sign_in: SignIn
) -> None:
    page = window(strict=False).new_page()
    sign_in(page, "alice")
    expired = made_by_hand({"exp": 1_000_000_001})
    page.evaluate("token => sessionStorage.setItem('sfs-token', token)", expired)
    follow(page, site, site.token("bob"), "goto")
    expect(page.get_by_text("bob", exact=True)).to_be_attached()
    expect(page.get_by_role("dialog")).to_have_count(0)
    # And a link that is no good, where nobody is signed in, asks for a token.
    page.get_by_role("button", name="Sign out").click()
    follow(page, site, expired, "goto")
    said = "The link that you opened does not sign you in: it has expired"
    expect(page.get_by_role("dialog", name="Sign in")).to_contain_text(said)
    assert page.evaluate("sessionStorage.length") == 0


def test_a_token_can_be_pasted_and_a_bad_one_is_refused_in_words(
    site: Site, window: Window
) -> None:
    page = window(strict=False).new_page()  # a refusal shows on the console
    page.goto(site.url)
    page.get_by_role("button", name="Sign in").first.click()
    dialog = page.get_by_role("dialog", name="Sign in")
    dialog.get_by_label("Token").fill("none")
    dialog.get_by_label("Token").press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("token")
    assert page.evaluate("sessionStorage.length") == 0
    dialog.get_by_label("Token").fill(f" ecloud_{site.token('bob')}\n")
    dialog.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("bob", exact=True)).to_be_visible()
    expect(dialog).not_to_be_visible()


def test_a_token_that_is_refused_later_asks_for_another(
    site: Site, window: Window, sign_in: SignIn
) -> None:
    page = window(strict=False).new_page()
    site.store("default", {"for-all.txt": b"hello"})
    sign_in(page)
    page.evaluate("sessionStorage.setItem('sfs-token', 'a.b.c')")
    page.get_by_role("searchbox").fill("x")
    expect(page.get_by_role("dialog", name="Sign in")).to_contain_text("your token has expired")
    assert page.evaluate("sessionStorage.length") == 0


def test_a_visitor_sees_the_default_namespace_and_is_offered_nothing_to_change(
    site: Site, page: Page
) -> None:
    site.store("default", {"for-all.txt": b"hello"})
    page.goto(site.url)
    row = page.get_by_role("row", name="for-all.txt")
    expect(row).to_be_visible()
    expect(page.get_by_role("navigation").get_by_role("link")).to_have_count(1)
    for name in ("Upload", "New namespace", "Actions on this namespace"):
        expect(page.get_by_text(name)).to_have_count(0)
    row.hover()
    row.get_by_role("button", name="Actions on").click()
    offered = ["View", "Download", "Copy link…", "Copy path"]
    expect(page.get_by_role("menuitem")).to_have_text(offered)
    page.keyboard.press("Escape")
    row.focus()
    page.keyboard.press("Delete")
    expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize(
    ("user", "admin", "writes", "manages"),
    [("alice", False, True, True), ("bob", False, False, False), ("root", True, True, True)],
)
def test_what_a_person_may_not_do_is_not_offered(
    page: Page, sign_in: SignIn, namespace: str, user: str, admin: bool, writes: bool, manages: bool
) -> None:
    sign_in(page, user, admin=admin, at=f"/ns/{namespace}")
    expect(page.get_by_role("heading", level=1)).to_have_text(namespace)
    expect(page.locator("main input[type=file]")).to_have_count(3 if writes else 0)
    actions = page.get_by_role("button", name="Actions on this namespace")
    expect(actions).to_have_count(1 if manages else 0)


def test_a_namespace_is_made_hidden_shown_and_deleted(
    site: Site, page: Page, sign_in: SignIn, window: Window
) -> None:
    token = sign_in(page)
    page.get_by_role("button", name="New namespace").click()
    page.get_by_label("Name", exact=True).fill("made.here-1")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("made.here-1")
    assert page.url == f"{site.url}/ns/made.here-1"
    for name in "ab":
        url = f"{site.url}/storage/made.here-1/{name}"
        assert page.request.put(url, headers=authorization(token)).status == 201
    page.reload()
    entry = page.get_by_role("link", name="made.here-1")
    expect(entry).to_contain_text("2")

    other = window().new_page()
    sign_in(other, "bob")
    expect(other.get_by_role("link", name="made.here-1")).to_be_visible()
    page.get_by_role("button", name="Actions on this namespace").click()
    page.get_by_role("menuitem", name="Hide").click()
    expect(entry).to_contain_text("hidden")
    other.reload()
    expect(other.get_by_role("link", name="default")).to_be_visible()
    expect(other.get_by_role("link", name="made.here-1")).to_have_count(0)
    page.get_by_role("button", name="Actions on this namespace").click()
    page.get_by_role("menuitem", name="Show").click()
    expect(entry).not_to_contain_text("hidden")

    page.get_by_role("button", name="Actions on this namespace").click()
    page.get_by_role("menuitem", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete made.here-1?")
    expect(dialog).to_contain_text("2 files")
    dialog.get_by_role("button", name="Cancel").click()
    expect(entry).to_be_visible()
    page.get_by_role("button", name="Actions on this namespace").click()
    page.get_by_role("menuitem", name="Delete").click()
    dialog.get_by_role("button", name="Delete namespace").click()
    expect(entry).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_have_text("default")
    assert not (site.data / "files" / "made.here-1").exists()


def test_a_namespace_that_is_not_there_is_said_in_words(
    site: Site, window: Window, sign_in: SignIn
) -> None:
    page = window(strict=False).new_page()
    sign_in(page)
    page.goto(f"{site.url}/ns/absent")
    expect(page.get_by_role("alert")).to_contain_text("no such namespace")
    page.get_by_role("button", name="Go to default").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("default")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("absent")
