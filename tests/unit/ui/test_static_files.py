"""What the pages are made of: nothing from elsewhere, nothing inline, every library as it was fetched."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STATIC = ROOT / "ui" / "static"
VENDOR = STATIC / "vendor"
LOCK = json.loads((VENDOR / "vendor.lock.json").read_text())
OWN_SCRIPTS = sorted((STATIC / "js").rglob("*.js"))
PAGES = sorted(STATIC.glob("*.html"))
IMPORT = re.compile(r'(?:from|import)\s*"([^"]+)"')


def test_every_library_is_as_the_lock_says() -> None:
    expected = {name: digest for package in LOCK for name, digest in package["files"].items()}
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.suffix in (".js", ".css")
    }
    assert found == expected


@pytest.mark.parametrize("package", LOCK, ids=lambda package: package["name"])
def test_every_library_has_its_licence_and_its_notice(package: dict[str, str]) -> None:
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text()
    assert f"| {package['name']} | {package['version']} | {package['licence']} |" in notices
    licence = VENDOR / "LICENSES" / (package["name"].replace("@", "").replace("/", "-") + ".txt")
    assert len(licence.read_text()) > 500
    assert package["integrity"].startswith("sha512-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_hold_nothing_inline_and_nothing_foreign(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text), "inline script"
    for address in re.findall(r'(?:src|href|action)="([^"]+)"', text):
        assert address.startswith("/")
        assert address == "/login" or (STATIC / address.removeprefix("/static/")).is_file(), address


@pytest.mark.parametrize("script", OWN_SCRIPTS, ids=lambda script: script.name)
def test_scripts_are_small_and_their_imports_are_there(script: Path) -> None:
    text = script.read_text()
    assert len(text.splitlines()) <= 350
    assert text.startswith("//"), "a file says what it is for"
    for target in IMPORT.findall(text):
        assert target.startswith("."), f"{target} is not a relative path"
        assert (script.parent / target).resolve().is_file(), target


def test_nothing_is_ever_shown_as_markup() -> None:
    for script in OWN_SCRIPTS:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", script.read_text()
        )


def test_nothing_is_loaded_from_another_place() -> None:
    for path in [*OWN_SCRIPTS, *STATIC.glob("css/*.css")]:
        foreign = re.findall(r"https?://[^\s\"'`)]+", path.read_text())
        assert [url for url in foreign if "www.w3.org" not in url] == [], path.name


def test_the_first_page_is_light() -> None:
    import gzip

    own = [*OWN_SCRIPTS, *STATIC.glob("css/*.css"), *VENDOR.glob("*.js"), *VENDOR.glob("*.css")]
    packed = sum(len(gzip.compress(path.read_bytes(), 9)) for path in own)
    assert packed < 80 * 1024
