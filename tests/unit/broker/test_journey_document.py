"""docs/journey.md is kept true: every file and name in it exists, and links between pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
JOURNEY = (ROOT / "docs" / "journey.md").read_text(encoding="utf-8")
PAGES = [
    "journey.md",
    "architecture.md",
    "wire.md",
    *(f"adr/{p.name}" for p in (ROOT / "docs/adr").glob("*.md")),
]
FOLDERS = ("broker", "ledger", "orchestrator", "router", "agents", "client", "ui", "cli")
SOURCE = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
}


def defined() -> set[str]:
    """Every class and function of the source, methods also as Class.method."""
    names: set[str] = set()
    for text in SOURCE.values():
        holder = ""
        for indent, what, name in re.findall(r"^( *)(?:async )?(class|def) (\w+)", text, re.MULTILINE):
            names.add(name)
            if what == "class":
                holder = name
            elif indent:
                names.add(f"{holder}.{name}")
    return names


def test_every_file_of_the_journey_exists() -> None:
    short = {path.rpartition("/")[2] for path in SOURCE}
    named = re.findall(r"`([\w/]+\.py)`", JOURNEY)
    assert len(named) > 40
    assert [path for path in named if path not in SOURCE and path not in short] == []


def test_every_name_of_the_journey_exists() -> None:
    known = defined()
    words = set(re.findall(r"`([A-Za-z_]\w*(?:\.[a-z_]\w*)?)`", JOURNEY))
    names = {word for word in words if re.search(r"[A-Z]|\.|^_", word) and not word.isupper()}
    assert len(names) > 40
    assert sorted(names - known - {word for word in names if word.endswith(".py")}) == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / "docs" / page
    text = path.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).strip().replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        assert not file or (path.parent / file).exists(), target
        assert file or anchor in headings, target
