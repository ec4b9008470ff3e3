"""What a person sees in the browser when something goes wrong. Pure.

The page is whole in itself: it must look right when the files of the web page cannot be had. It has
no script, and its policy allows its own style alone, by its hash. Everything that is put into it is
escaped.
"""

from __future__ import annotations

import base64
import hashlib
import html

from sfs_server.errors import INVALID_TOKEN, Problem

_STYLE = """
:root{color-scheme:light dark;--paper:#f7f6f2;--ink:#1b1c1a;--soft:#5d605b;--accent:#0b6655}
@media (prefers-color-scheme:dark){
:root{--paper:#141614;--ink:#eceee9;--soft:#a2a8a0;--accent:#6fd0b8}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;align-content:center;padding:2rem;color:var(--ink);
background:var(--paper);font:1.0625rem/1.6 -apple-system,"Segoe UI",Roboto,Cantarell,"Noto Sans",
"Liberation Sans",system-ui,sans-serif}
main{max-width:34rem;width:100%;margin:0 auto 10vh}
svg{display:block;margin-bottom:2.5rem;color:var(--accent)}
.code{margin:0;color:var(--accent);font-size:.875rem;font-weight:600;letter-spacing:.08em}
h1{margin:.25rem 0 .75rem;font-size:clamp(1.75rem,6vw,2.5rem);line-height:1.15;font-weight:650;
letter-spacing:-.025em;overflow-wrap:anywhere}
p{margin:0;color:var(--soft);overflow-wrap:anywhere}
nav{margin-top:2rem}
a{color:var(--accent);text-underline-offset:.25em;text-decoration-thickness:1px}
a:hover{text-decoration-thickness:2px}
a:focus-visible{outline:2px solid;outline-offset:4px;border-radius:2px}
"""

POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; style-src "
    f"'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)
"""The Content-Security-Policy of the page."""

_HEADINGS = {
    400: "This address cannot be right",
    401: "You are not signed in",
    403: "This is not yours to change",
    404: "There is nothing here",
    503: "Back in a moment",
    507: "The store is full",
}
"""What a person would say; for any other status, what HTTP calls it."""

_LINK_REFUSED = "This link does not work any more"
"""The heading for a token that is not valid: in a browser it came with the address, as a link."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{heading} · SFS</title>
<style>{style}</style></head>
<body><main>
<svg width="40" height="40" viewBox="0 0 32 32" fill="none" stroke-linecap="round" \
stroke="var(--paper)" stroke-width="2.8" aria-hidden="true">
<rect width="32" height="32" rx="9" fill="currentColor" stroke="none"/>
<path d="M9 10.5h14M9 16h7.5M9 21.5h14M22.9 16h.2"/></svg>
<p class="code">{status} {title}</p>
<h1>{heading}</h1>
<p>{detail}</p>
<nav><a href="/">{way_out}</a></nav>
</main></body></html>
"""


def error_page(problem: Problem) -> str:
    """The HTML for ``problem``. It says what the problem document says."""
    heading = _HEADINGS.get(problem.status, problem.title)
    if problem.headers.items() >= INVALID_TOKEN.items():
        heading = _LINK_REFUSED
    return _PAGE.format(
        style=_STYLE,
        status=problem.status,
        title=html.escape(problem.title),
        heading=html.escape(heading),
        detail=html.escape(problem.detail),
        way_out="Sign in" if problem.status == 401 else "All files",
    )
