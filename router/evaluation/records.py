"""Reads the public files an evaluation starts from: calls, prompts, arrivals, failures, slow-down by batch.

Knows file names and columns, nothing of fleets or policies. Only calls, prompts and one trace must be there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from outrider.broker.facts import TaskFacts
from outrider.router.evaluation.names import TRACES
from outrider.router.evaluation.tables import DataUnusable, NotUsed, Row, Tell, is_folder, read_table

Numbers = NDArray[np.float64]
Prompt = tuple[str, int]
"""Category and number: the name of a prompt."""


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
    """Those that can be used: two requests at different times at least."""
    lacking: dict[str, str] = field(default_factory=dict)
    """Why a file of which an evaluation can do without is of no use, by its name."""
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    slowdown: Numbers = field(default_factory=lambda: np.ones(1))
    """By which factor a token takes longer beside 0, 1, 2, ... others."""


def read_records(folder: Path, tell: Tell = lambda _: None) -> Records:
    """Raises DataUnusable when the folder lacks what every evaluation needs, or a file is damaged.

    `tell` hears of files whose rows cannot all be used.
    """
    if not is_folder(folder):
        raise DataUnusable(f"{folder} is not a folder")
    facts = _facts(folder, tell)
    records = Records(_runs(folder, facts, tell), facts, {})
    for name in TRACES:
        _add_trace(records, name, folder, tell)
    _add_replies(records, folder, tell)
    records.slowdown = _slowdown(folder, tell)
    return records


def _name(text: str) -> str:
    """A name as agents may have it."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", text)[:64] or "unnamed"


def _prompt(row: Row) -> Prompt:
    return _name(row.text("category")), row.key("idx")


def _facts(folder: Path, tell: Tell) -> dict[Prompt, TaskFacts]:
    """What is known of each prompt before it is sent."""

    def make(row: Row) -> tuple[Prompt, TaskFacts]:
        question, functions = row.size("q_chars"), row.size("func_chars")
        return _prompt(row), TaskFacts(payload_bytes=question + functions, prompt_chars=question, messages=1)

    found = read_table(folder, "bfcl_prompts", "category idx q_chars func_chars", make, tell)
    if not found:
        raise DataUnusable("bfcl_prompts has no row that can be used")
    return dict(found)


def _runs(folder: Path, facts: dict[Prompt, TaskFacts], tell: Tell) -> dict[str, dict[str, list[Call]]]:
    runs: dict[str, dict[str, list[Call]]] = {}

    def add(row: Row) -> None:
        run, model, prompt = row.text("run"), _name(row.text("model")), _prompt(row)
        seconds = row.positive("latency_s")
        if prompt not in facts:
            raise NotUsed("of prompts that bfcl_prompts does not have")
        call = Call(prompt, seconds, row.values.get("correct") == "1" and row.values.get("err") != "1")
        runs.setdefault(run, {}).setdefault(model, []).append(call)

    read_table(folder, "bfcl_latency", "run model category idx latency_s", add, tell)
    if not runs:
        raise DataUnusable("bfcl_latency holds no usable call of a prompt in bfcl_prompts")
    return dict(sorted(runs.items()))


def _add_trace(records: Records, name: str, folder: Path, tell: Tell) -> None:
    def make(row: Row) -> Request:
        return Request(row.number("t_s"), row.size("context_tokens"), row.size("generated_tokens"))

    file, columns = f"azure_llm_2023_{name}", "t_s context_tokens generated_tokens"
    trace = read_table(folder, file, columns, make, tell, is_needed=name == "conv")
    if trace is None:
        records.lacking[file] = f"there is no {file} file"
    elif not any(late.at > early.at for early, late in pairwise(trace)):
        records.lacking[file] = f"{file} needs two requests, one later than the other"
        if not trace:
            records.lacking[file] = f"{file} has no row that can be used"
    else:
        records.traces[name] = trace


def _add_replies(records: Records, folder: Path, tell: Tell) -> None:
    def add(row: Row) -> None:
        error = int(row.number("error_code", 0.0))
        # Of a refusal nothing was measured.
        times = [0.0] * 3 if error else [row.positive("e2e_s"), row.number("ttft_s"), row.number("itl_s")]
        whole_s, first_s, between_s = times
        name = _name(f"{row.text('provider')}-{row.text('model_size')}")
        records.replies.setdefault(name, []).append(Reply(first_s, between_s, whole_s, error))

    file, columns = "llmperf_leaderboard_2023", "provider model_size ttft_s itl_s e2e_s error_code"
    if read_table(folder, file, columns, add, tell, is_needed=False) is None:
        records.lacking[file] = f"there is no {file} file"
    elif not records.replies:
        records.lacking[file] = f"{file} has no row that can be used"


def _slowdown(folder: Path, tell: Tell) -> Numbers:
    """Median over machines of milliseconds a token at each batch size, relative to a batch of one."""
    columns = "hardware batch_size ms_per_token tensor_parallel prompt_size"
    cells: dict[str, dict[int, list[float]]] = {}

    def add(row: Row) -> None:
        machine = " ".join(row.text(part) for part in ("hardware", "tensor_parallel", "prompt_size"))
        size, token_ms = int(row.positive("batch_size")), row.positive("ms_per_token")
        cells.setdefault(machine, {}).setdefault(size, []).append(token_ms)

    read_table(folder, "splitwise_perf_model", columns, add, tell, is_needed=False)
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
