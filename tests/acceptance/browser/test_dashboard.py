"""The fleet page in a real browser: what happens is seen as it happens, and so is what goes wrong."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Locator, Page, expect

from outrider.broker.server import PrivateServer
from tests.acceptance.browser.fleet import Fleet
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chromium, pytest.mark.slow]


def agent_row(page: Page, name: str) -> Locator:
    return page.locator(f'tr[data-agent="{name}"]')


async def number_in(tile: Locator) -> float:
    found = re.match(r"[\d.,]+", (await tile.locator("dd").first.inner_text()).strip())
    return float(found.group().replace(",", "")) if found else 0.0


async def test_agents_queue_throughput_and_latency_are_live(page: Page, fleet: Fleet) -> None:
    await page.goto(f"{fleet.address}/admin")
    await expect(page.get_by_test_id("agents")).to_contain_text("outrider agent --kinds")
    await fleet.agent("one", "sleep", slots=2)
    await expect(agent_row(page, "one")).to_have_attribute("data-state", "online")
    for _ in range(14):
        await fleet.submit("sleep", {"seconds": 0.6})
    await expect(agent_row(page, "one")).to_contain_text("2 of 2")
    await expect(page.get_by_test_id("queue").locator('[data-kind="sleep"]')).to_be_visible()
    assert await number_in(page.get_by_test_id("tile-waiting")) > 0

    async def throughput() -> bool:
        return await number_in(page.get_by_test_id("tile-finished")) > 0

    async def latency() -> bool:
        return await number_in(page.get_by_test_id("tile-latency")) > 0

    await eventually(throughput)
    await eventually(latency)
    for chart in ("chart-throughput", "chart-latency"):
        await expect(page.get_by_test_id(chart).locator("canvas")).to_be_visible()
    await expect(page.locator('tr[data-task][data-state="succeeded"]')).to_have_count(14)
    await expect(page.get_by_test_id("queue")).to_contain_text("Nothing waits")
    assert await number_in(page.get_by_test_id("tile-waiting")) == 0


async def test_a_killed_agent_is_seen_to_go_and_its_task_to_move(page: Page, fleet: Fleet) -> None:
    for name in ("left", "right"):
        await fleet.agent(name, "sleep")
    await page.goto(f"{fleet.address}/admin")
    task_id = await fleet.submit("sleep", {"seconds": 5})
    task = page.locator(f'tr[data-task="{task_id}"]')
    await expect(task).to_have_attribute("data-state", "running")
    agent_cell = task.locator('[data-label="Agent"]')
    killed = (await agent_cell.inner_text()).strip()
    other = {"left": "right", "right": "left"}[killed]
    fleet.agents[killed].kill()

    await expect(agent_cell).to_have_text(other, timeout=30_000)
    await expect(task.locator('[data-label="Attempts"]')).to_contain_text("2")
    await expect(agent_row(page, killed)).to_have_attribute("data-state", "offline", timeout=30_000)
    await expect(agent_row(page, killed)).to_contain_text("Offline")

    await task.click()
    detail = page.get_by_test_id("detail")
    await expect(detail.locator(".event")).to_have_count(4, timeout=30_000)
    kinds = await detail.locator(".event").evaluate_all("found => found.map(e => e.dataset.type)")
    assert kinds[0] == kinds[2] == "assigned"
    assert kinds[3] == "succeeded"
    await expect(detail.locator(".task-head .badge")).to_have_attribute("data-state", "succeeded")
    await expect(detail.locator(".why").first).to_contain_text(f"{killed} was chosen")
    await page.keyboard.press("Escape")
    await expect(detail).to_have_count(0)


async def test_dead_letters_are_dealt_with_and_kinds_paused(page: Page, fleet: Fleet) -> None:
    await fleet.agent("one", "sleep")
    await page.goto(f"{fleet.address}/admin")
    first = await fleet.submit("sleep", {"seconds": "never"})
    letters = page.get_by_test_id("letters")
    row = letters.locator(f'tr[data-letter="{first}"]')
    await expect(row).to_contain_text("invalid_input")
    await row.get_by_role("button", name="Requeue").click()
    await expect(letters.get_by_role("status")).to_contain_text("Requeued as")
    await expect(row).to_have_count(0)
    again = letters.locator("tr[data-letter]")
    await expect(again).to_have_count(1)
    await again.get_by_role("button", name="Discard").click()
    await expect(letters.get_by_role("status")).to_contain_text("Discarded")
    await expect(letters).to_contain_text("There are none")

    kind = page.get_by_test_id("kinds").locator('[data-kind="sleep"]')
    await kind.get_by_role("button", name="Pause").click()
    await expect(kind).to_have_attribute("data-paused", "true")
    task = page.locator(f'tr[data-task="{await fleet.submit("sleep", {"seconds": 0.1})}"]')
    await expect(page.get_by_test_id("queue").locator('[data-kind="sleep"]')).to_be_visible()
    await expect(task).to_have_count(0)
    await kind.get_by_role("button", name="Resume").click()
    await expect(task).to_have_attribute("data-state", "succeeded")
    await expect(kind).to_have_attribute("data-paused", "false")


async def test_a_lost_nats_and_a_lost_bridge_are_told_apart_and_pass(
    page: Page, fleet: Fleet, server: PrivateServer, complaints: list[str]
) -> None:
    await fleet.agent("one", "echo")
    await page.goto(f"{fleet.address}/admin")
    pill = page.locator(".pill")
    await expect(pill).to_have_attribute("data-state", "live")
    server.kill()
    await expect(pill).to_have_attribute("data-state", "nats_down")
    await expect(page.get_by_role("alert").first).to_contain_text("lost NATS")
    await expect(agent_row(page, "one")).to_be_visible()
    await server.start()
    await expect(pill).to_have_attribute("data-state", "live")

    assert fleet.ui is not None
    port = int(fleet.address.rpartition(":")[2])
    fleet.ui.kill()
    await expect(pill).to_have_attribute("data-state", "reconnecting")
    await expect(agent_row(page, "one")).to_be_visible()
    await fleet.start_ui(port)
    await expect(pill).to_have_attribute("data-state", "live")
    await fleet.submit("echo", "after the break")
    await expect(page.locator('tr[data-task][data-state="succeeded"]').first).to_be_visible()
    assert all("WebSocket" in text or "ERR_CONNECTION" in text for text in complaints), complaints
    complaints.clear()


@pytest.mark.parametrize("width", [360, 768, 1280])
async def test_nothing_is_cut_at_any_width(page: Page, fleet: Fleet, width: int) -> None:
    await fleet.agent("one", "echo")
    task_id = await fleet.submit("echo", "hello")
    await page.set_viewport_size({"width": width, "height": 800})
    await page.goto(f"{fleet.address}/admin?task={task_id}")
    await expect(page.get_by_test_id("detail").locator(".event")).to_have_count(2)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
