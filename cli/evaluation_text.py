"""The rows of `outrider router eval` as tables for people, each at most 120 columns wide.

Pure: rows as the report has them in, text out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outrider.cli.output import table

Row = Mapping[str, Any]
BENCH = ("bench", "arrivals", "load", "scenario")
TIMES = {
    "MEAN s": "mean_s",
    "P50 s": "p50_s",
    "P95 s": "p95_s",
    "P99 s": "p99_s",
    "/ LEAST": "ratio_to_least_outstanding",
    "/ PEAK": "ratio_to_peak_ewma",
    "95 %": "ratio_to_peak_ewma_interval",
    "P99/PEAK": "p99_ratio_to_peak_ewma",
    "REGRET": "ratio_to_oracle",
    "GAP": "gap_closed",
}
"""How long tasks took, alone and beside other policies."""
REST = {
    "GOOD": "goodput",
    "LARGEST SHARE": "largest_share",
    "FAILURES": "failures",
    "HEDGED": "hedged",
    "P50 COVERS": "p50_coverage",
    "P90 COVERS": "p90_coverage",
    "DECISION ms": "decision_ms",
}
"""What became of tasks otherwise, and how the policy went about it."""


def report_text(rows: Sequence[Row]) -> str:
    """Two tables for each bench, one policy a line; a column of which no policy has a value is left out."""
    benches = dict.fromkeys(tuple(row[part] for part in BENCH) for row in rows)
    return "\n".join(
        _bench_text([row for row in rows if tuple(row[part] for part in BENCH) == bench]) for bench in benches
    )


def _bench_text(rows: Sequence[Row]) -> str:
    head = " ".join(f"{part} {rows[0][part]}" for part in (*BENCH, "fleets"))
    return "\n".join(["", head, _table(rows, TIMES), "", _table(rows, REST)])


def _table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    shown = {head: name for head, name in columns.items() if any(row.get(name) is not None for row in rows)}
    lines = ([row["policy"], *(_cell(row.get(name)) for name in shown.values())] for row in rows)
    return table(("POLICY", *shown), lines)


def _cell(value: float | Sequence[float] | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, Sequence):
        return "-".join(_number(end, 2) for end in value)
    return _number(value, 3)


def _number(value: float, digits: int) -> str:
    """No more than four digits matter."""
    whole = len(str(int(abs(value))))
    return f"{value:.{max(0, min(digits, 4 - whole))}f}"
