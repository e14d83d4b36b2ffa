"""A small made-up folder with the files and columns that an evaluation reads."""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

CATEGORIES = ("simple", "parallel", "relevance")
PROMPTS = 40
MODELS = {f"model.{number}": 0.3 * 1.8**number for number in range(6)}
"""Usual seconds of each; the last is absent from the older run."""


def _write(folder: Path, name: str, columns: str, rows: Iterable[Sequence[object]]) -> None:
    with gzip.open(folder / f"{name}.csv.gz", "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns.split())
        writer.writerows(rows)


def make_folder(folder: Path, *, is_shuffled: bool = False) -> Path:
    """Models that differ much in pace; shuffled, the same durations are dealt out anew for each prompt."""
    draw = random.Random(4)
    prompts = [(category, number) for category in CATEGORIES for number in range(PROMPTS)]
    sizes = {prompt: draw.randint(50, 900) for prompt in prompts}
    calls = []
    for run, models in (("2030-01", list(MODELS)[:-1]), ("2030-02", list(MODELS))):
        for prompt in prompts:
            seconds = [MODELS[model] * draw.lognormvariate(0.0, 0.3) for model in models]
            if is_shuffled:
                draw.shuffle(seconds)
            calls += [
                (run, model, *prompt, 100, 20, round(took, 4), int(draw.random() < 0.8), 0)
                for model, took in zip(models, seconds, strict=True)
            ]
    _write(folder, "bfcl_latency", "run model category idx in_tok out_tok latency_s correct err", calls)
    known = [(*prompt, size, size // 5, 0, 0, 1, 2, 300, size // 4) for prompt, size in sizes.items()]
    columns = "category idx q_chars q_words q_list_marks q_digits n_functions n_params func_chars"
    _write(folder, "bfcl_prompts", f"{columns} ref_prompt_tokens", known)
    _write_traces(folder, draw)
    _write_parts(folder, draw)
    return folder


def _write_traces(folder: Path, draw: random.Random) -> None:
    for name, lump in (("conv", 1), ("code", 8)):
        at, rows = 0.0, []
        for number in range(300):
            at += draw.expovariate(5.0) if number % lump == 0 else 0.0
            rows.append((round(at, 4), draw.randint(50, 2000), draw.randint(5, 300)))
        _write(folder, f"azure_llm_2023_{name}", "t_s context_tokens generated_tokens", rows)


def _write_parts(folder: Path, draw: random.Random) -> None:
    replies = [
        (
            provider,
            "7b",
            number,
            0,
            550,
            150,
            0.3,
            round(0.01 * pace * draw.uniform(0.8, 1.2), 5),
            2.0 * pace,
            0,
        )
        for provider, pace in (("swift", 1), ("calm", 2), ("slow", 4), ("other", 2))
        for number in range(12)
    ]
    columns = "provider model_size seq run_unix_ts in_tok out_tok ttft_s itl_s e2e_s error_code"
    _write(folder, "llmperf_leaderboard_2023", columns, replies)
    speeds = [("m", "gpu", 512, size, 128, 90, 20 + size, 3000, 2) for size in (1, 2, 4, 8)]
    columns = "model hardware prompt_size batch_size token_size prompt_ms ms_per_token e2e_ms tensor_parallel"
    _write(folder, "splitwise_perf_model", columns, speeds)
