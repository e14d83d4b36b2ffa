"""Reads the public files an evaluation starts from: calls, prompts, arrivals, failures, slow-down by batch.

Knows file names and columns, nothing of fleets or policies. Only calls, prompts and one trace must be there.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from outrider.broker.errors import OutriderError
from outrider.broker.facts import TaskFacts

Numbers = NDArray[np.float64]
TRACES = ("conv", "code")
Prompt = tuple[str, int]
"""Category and number: the name of a prompt."""


class DataUnusable(OutriderError):
    """The folder lacks a file or a column that an evaluation needs."""

    code = "data_unusable"
    default_hint = "docs/router.md, section Evaluation, names the files and their columns"


@dataclass(frozen=True, slots=True)
class Call:
    """One measured call: how long it took and whether the answer was right. Hidden from every policy."""

    prompt: Prompt
    seconds: float
    is_correct: bool


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a trace: when it came, and its lengths. The generated length is hidden from policies."""

    at: float
    context_tokens: int
    generated_tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    """One measured reply of a hosted model: seconds to the first token, between tokens, and an error code."""

    first_s: float
    between_s: float
    whole_s: float
    error: int


@dataclass(slots=True)
class Records:
    """All that was found in a folder."""

    runs: dict[str, dict[str, list[Call]]]
    """Run, then model, then its calls in the order in which they were made."""
    facts: dict[Prompt, TaskFacts]
    traces: dict[str, list[Request]]
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    slowdown: Numbers = field(default_factory=lambda: np.ones(1))
    """By which factor a token takes longer beside 0, 1, 2, ... others."""


def read_records(folder: Path) -> Records:
    """Raises DataUnusable when the folder lacks what every evaluation needs."""
    if not folder.is_dir():
        raise DataUnusable(f"{folder} is not a folder")
    facts = _facts(folder)
    traces = {name: _trace(folder, f"azure_llm_2023_{name}") for name in TRACES}
    return Records(
        _runs(folder, facts),
        facts,
        {name: trace for name, trace in traces.items() if trace},
        _replies(folder),
        _slowdown(folder),
    )


def _rows(folder: Path, name: str, columns: str, *, is_needed: bool = True) -> Iterator[dict[str, str]]:
    packed, plain = folder / f"{name}.csv.gz", folder / f"{name}.csv"
    if not packed.exists() and not plain.exists():
        if is_needed:
            raise DataUnusable(f"{packed} is missing")
        return
    with (
        gzip.open(packed, "rt", encoding="utf-8", newline="")
        if packed.exists()
        else plain.open(encoding="utf-8", newline="")
    ) as file:
        reader = csv.DictReader(file)
        missing = set(columns.split()) - set(reader.fieldnames or ())
        if missing:
            raise DataUnusable(f"{name} lacks the columns {', '.join(sorted(missing))}")
        yield from reader


def _name(text: str) -> str:
    """A name as agents may have it."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", text)[:64] or "unnamed"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _facts(folder: Path) -> dict[Prompt, TaskFacts]:
    """What is known of each prompt before it is sent."""
    found = {}
    for row in _rows(folder, "bfcl_prompts", "category idx q_chars func_chars"):
        question, functions = int(_number(row["q_chars"])), int(_number(row["func_chars"]))
        found[_name(row["category"]), int(row["idx"])] = TaskFacts(
            payload_bytes=question + functions, prompt_chars=question, messages=1
        )
    return found


def _runs(folder: Path, facts: dict[Prompt, TaskFacts]) -> dict[str, dict[str, list[Call]]]:
    runs: dict[str, dict[str, list[Call]]] = {}
    for row in _rows(folder, "bfcl_latency", "run model category idx latency_s"):
        prompt, seconds = (_name(row["category"]), int(row["idx"])), _number(row["latency_s"])
        if prompt in facts and seconds > 0:
            call = Call(prompt, seconds, row.get("correct") == "1" and row.get("err") != "1")
            runs.setdefault(row["run"], {}).setdefault(_name(row["model"]), []).append(call)
    if not runs:
        raise DataUnusable("bfcl_latency holds no call of a prompt in bfcl_prompts")
    return dict(sorted(runs.items()))


def _trace(folder: Path, name: str) -> list[Request]:
    rows = _rows(folder, name, "t_s context_tokens generated_tokens", is_needed=name.endswith("conv"))
    return [
        Request(
            _number(row["t_s"]), int(_number(row["context_tokens"])), int(_number(row["generated_tokens"]))
        )
        for row in rows
    ]


def _replies(folder: Path) -> dict[str, list[Reply]]:
    found: dict[str, list[Reply]] = {}
    columns = "provider model_size ttft_s itl_s e2e_s error_code"
    for row in _rows(folder, "llmperf_leaderboard_2023", columns, is_needed=False):
        reply = Reply(
            _number(row["ttft_s"]),
            _number(row["itl_s"]),
            _number(row["e2e_s"]),
            int(_number(row["error_code"])),
        )
        found.setdefault(_name(f"{row['provider']}-{row['model_size']}"), []).append(reply)
    return found


def _slowdown(folder: Path) -> Numbers:
    """Median over machines of milliseconds a token at each batch size, relative to a batch of one."""
    columns = "hardware batch_size ms_per_token tensor_parallel prompt_size"
    cells: dict[str, dict[int, list[float]]] = {}
    for row in _rows(folder, "splitwise_perf_model", columns, is_needed=False):
        machine = f"{row['hardware']} {row['tensor_parallel']} {row['prompt_size']}"
        cell = cells.setdefault(machine, {}).setdefault(int(_number(row["batch_size"])), [])
        cell.append(_number(row["ms_per_token"]))
    curves = [
        {size: float(np.median(values)) / float(np.median(sizes[1])) for size, values in sizes.items()}
        for sizes in cells.values()
        if 1 in sizes
    ]
    if not curves:
        return np.ones(1)
    sizes = sorted({size for curve in curves for size in curve})
    factors = [float(np.median([curve[size] for curve in curves if size in curve])) for size in sizes]
    return np.maximum.accumulate(np.interp(np.arange(1, 65), sizes, factors))
