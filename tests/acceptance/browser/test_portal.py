"""The portal in a real browser: submit, watch the answer being written, reload, find it again."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.acceptance.browser.fleet import Fleet
from tests.support.openai_server import OpenAIServer, Reply
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chromium, pytest.mark.slow]

WORDS = [f"word{number} " for number in range(30)]


async def with_a_model(fleet: Fleet, model: OpenAIServer) -> None:
    env = {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "k", "OUTRIDER_MODEL": "m"}
    await fleet.agent("writer", "chat", env=env)


async def ask(page: Page, fleet: Fleet, prompt: str) -> None:
    await page.goto(f"{fleet.address}/")
    await page.get_by_role("radio", name="chat").check()
    await page.get_by_label("Message").fill(prompt)
    await page.get_by_role("button", name="Submit task").click()


async def test_an_answer_is_watched_reloaded_and_found_again(
    page: Page, fleet: Fleet, model: OpenAIServer
) -> None:
    await with_a_model(fleet, model)
    model.script(Reply(pieces=WORDS, piece_s=0.1))
    await ask(page, fleet, "Tell me of words")
    answer = page.get_by_test_id("answer")
    await expect(answer).to_contain_text("word3")
    assert "word29" not in await answer.inner_text(), "the text is shown while it is written"
    await expect(page.locator(".task-head .badge")).to_have_attribute("data-state", "running")

    await page.reload()
    await expect(answer).to_contain_text("word0 word1 word2")
    await expect(page.locator(".task-head .badge")).to_have_attribute("data-state", "succeeded")
    await expect(answer).to_have_text("".join(WORDS).strip())
    await expect(page.locator(".bullet-words")).to_contain_text("took")

    await page.goto(f"{fleet.address}/")
    item = page.locator(".history-item").filter(has_text="Tell me of words")
    await expect(item.locator(".badge")).to_have_attribute("data-state", "succeeded")
    await item.get_by_role("link").click()
    await expect(answer).to_have_text("".join(WORDS).strip())


async def test_an_answer_is_text_and_never_markup(page: Page, fleet: Fleet, model: OpenAIServer) -> None:
    await with_a_model(fleet, model)
    nasty = '<img src=x onerror="alert(1)"><script>alert(2)</script><b>bold</b>'
    model.script(Reply(pieces=[nasty]))
    await ask(page, fleet, nasty)
    await expect(page.get_by_test_id("answer")).to_have_text(nasty)
    await expect(page.locator(".history-title")).to_have_text(nasty)
    assert await page.locator("#app img, #app script, .stream b").count() == 0


async def test_a_task_is_cancelled(page: Page, fleet: Fleet) -> None:
    await fleet.agent("sleeper", "sleep")
    await page.goto(f"{fleet.address}/")
    await page.get_by_role("spinbutton", name="Seconds").fill("60")
    await page.get_by_role("button", name="Submit task").click()
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".task-head .badge")).to_have_attribute("data-state", "cancelled")
    await expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


async def test_what_is_wrong_is_said_beside_the_form(page: Page, fleet: Fleet, complaints: list[str]) -> None:
    await fleet.agent("sleeper", "sleep")
    await page.goto(f"{fleet.address}/")
    await page.get_by_label("JSON").check()
    await page.get_by_label("Payload as JSON").fill("{")
    await page.get_by_role("button", name="Submit task").click()
    await expect(page.get_by_role("alert")).to_contain_text("the payload is not JSON")
    await page.get_by_label("Payload as JSON").fill("[" * 61 + "]" * 61)
    await page.get_by_role("button", name="Submit task").click()
    await expect(page.get_by_role("alert")).to_contain_text("deeper than 60")
    assert all("400" in text for text in complaints), "the browser itself notes the refused request"
    complaints.clear()


async def test_an_empty_fleet_says_what_to_type_and_wakes_up_by_itself(page: Page, fleet: Fleet) -> None:
    await page.goto(f"{fleet.address}/")
    await expect(page.locator(".task-form")).to_contain_text("outrider agent --kinds echo,sleep")
    await fleet.agent("first", "echo")
    await expect(page.get_by_role("radio", name="echo")).to_be_checked()


async def test_it_is_used_by_keyboard_alone_on_a_small_screen(page: Page, fleet: Fleet) -> None:
    await fleet.agent("first", "echo")
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.goto(f"{fleet.address}/")
    await expect(page.get_by_role("radio", name="echo")).to_be_checked()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()

    async def at_the_text() -> bool:
        await page.keyboard.press("Tab")
        return bool(await page.evaluate("document.activeElement.name === 'text'"))

    await eventually(at_the_text)
    await page.keyboard.press("Control+A")
    await page.keyboard.type("typed, not clicked")
    await page.keyboard.press("Control+Enter")
    await expect(page.get_by_test_id("result")).to_contain_text("typed, not clicked")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_with_a_token_people_sign_in_once(page: Page, fleet: Fleet, complaints: list[str]) -> None:
    token = "a-token-that-is-long-enough"
    await fleet.start_ui(0, {"OUTRIDER_UI_TOKEN": token})
    await page.goto(f"{fleet.address}/admin")
    await page.get_by_label("Token").fill("a guess")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("not the token")
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator(".pill")).to_have_attribute("data-state", "live")
    await page.goto(f"{fleet.address}/admin")
    await expect(page.locator(".pill")).to_have_attribute("data-state", "live")
    assert all("403" in text for text in complaints), "the browser itself notes the refused guess"
    complaints.clear()


async def test_the_form_says_when_a_task_would_finish(page: Page, fleet: Fleet) -> None:
    await fleet.agent("sleeper", "sleep")
    await page.goto(f"{fleet.address}/")
    eta = page.get_by_test_id("eta")
    await expect(eta).to_contain_text("finishes in about")
    for _ in range(3):
        await fleet.submit("sleep", {"seconds": 60})
    await page.get_by_role("spinbutton", name="Seconds").fill("4")
    await expect(eta).to_contain_text("behind 2 tasks")

    await page.get_by_text("More options").click()
    await page.get_by_label("Counts against the limits of").fill("acme")
    await page.locator("select[name=delay]").select_option("in 1 hour")
    await expect(eta).to_have_count(0)
    await page.get_by_role("button", name="Submit task").click()
    await expect(page.locator(".task-head .badge")).to_have_attribute("data-state", "scheduled")
    await expect(page.locator(".facts")).to_contain_text("acme")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".task-head .badge")).to_have_attribute("data-state", "cancelled")
