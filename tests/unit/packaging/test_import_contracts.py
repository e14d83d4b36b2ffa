"""The import contracts name the parts and the modules that must stay pure."""

from tests.unit.packaging.project import PYPROJECT, TOP_FOLDERS

LINTER = PYPROJECT["tool"]["importlinter"]
CONTRACTS = {contract["name"]: contract for contract in LINTER["contracts"]}
PURE = {
    "broker": ("subjects", "messages"),
    "ledger": ("entries", "rules", "fold"),
    "orchestrator": ("core", "transitions", "events", "instructions", "model", "invariants"),
}


def test_all_parts_are_under_contract() -> None:
    assert LINTER["root_packages"] == [f"outrider.{folder}" for folder in TOP_FOLDERS]
    nats = CONTRACTS["only the broker knows nats"]
    assert nats["source_modules"] == [f"outrider.{folder}" for folder in TOP_FOLDERS if folder != "broker"]


def test_pure_modules_are_under_contract() -> None:
    contract = CONTRACTS["pure modules do no I/O, read no clock and draw no random number"]
    expected = {f"*.{folder}.{module}" for folder, modules in PURE.items() for module in modules}
    assert expected <= set(contract["source_modules"])
    assert set(contract["forbidden_modules"]) == {"asyncio", "nats", "time", "random"}
