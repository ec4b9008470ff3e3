"""The rows of the table, and how they are printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

KIB, MIB, GIB = 2**10, 2**20, 2**30
NOT_INSTALLED = "not installed"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a number should be: at least ``least``, or at most ``most``, in ``unit``."""

    least: float | None = None
    most: float | None = None
    unit: str = ""

    def text(self, value: float | None) -> str:
        """The bound, and whether ``value`` keeps to it."""
        if self.least is not None:
            bound, kept = f"≥ {self.least:g}", value is not None and value >= self.least
        elif self.most is not None:
            bound, kept = f"≤ {self.most:g}", value is not None and value <= self.most
        else:
            return "—"
        verdict = "" if value is None else (", met" if kept else ", MISSED")
        return f"{bound} {self.unit}".rstrip() + verdict


@dataclass(frozen=True, slots=True)
class Row:
    """One line. ``value`` is what ``wanted`` is about: the ratio, or a figure without a peer."""

    work: str
    ours: str
    peer: str = "—"
    ratio: float | None = None
    wanted: str = "—"


def compared(
    work: str, ours: float, peer: float | None, form: str, peer_name: str, wanted: Wanted
) -> Row:
    """A row about ``ours / peer``; ``form`` formats both, ``peer`` is None if not installed."""
    ratio = None if peer is None else ours / peer
    shown = NOT_INSTALLED if peer is None else form.format(peer)
    return Row(work, form.format(ours), f"{peer_name}: {shown}", ratio, wanted.text(ratio))


def render(rows: Iterable[Row]) -> str:
    """The table in Markdown."""
    lines = ["| work | SFS | peer | ratio | wanted |", "|---|---|---|---|---|"]
    for row in rows:
        ratio = "—" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(f"| {row.work} | {row.ours} | {row.peer} | {ratio} | {row.wanted} |")
    return "\n".join(lines)
