"""A real browser on a real fleet. Every page must stay free of console errors under the strict policy."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from outrider.broker.server import PrivateServer
from outrider.broker.subjects import Subjects
from tests.acceptance.browser.fleet import Fleet
from tests.support.openai_server import OpenAIServer

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        message = "no chromium on the PATH: apt-get install chromium"
        if "chromium" in os.environ.get("OUTRIDER_TEST_REQUIRE", ""):
            pytest.fail(message)
        pytest.skip(message)
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield launched
        await launched.close()


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    async with await browser.new_context(viewport={"width": 1280, "height": 900}) as opened:
        opened.set_default_timeout(20_000)
        yield opened


@pytest.fixture
def complaints() -> list[str]:
    """What pages said on the console; a test that breaks the connection on purpose clears it."""
    return []


@pytest.fixture
async def fleet(server: PrivateServer, subjects: Subjects, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with Fleet.running(server.url, subjects.fleet, tmp_path / "state") as running:
        yield running


@pytest.fixture
async def page(context: BrowserContext, fleet: Fleet, complaints: list[str]) -> AsyncIterator[Page]:
    opened = await context.new_page()
    opened.on(
        "console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None
    )
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    await opened.close()
    assert complaints == []


@pytest.fixture
async def model() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running:
        yield running
