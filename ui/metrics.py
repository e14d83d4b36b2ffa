"""The numbers of `/metrics` in Prometheus's text format: few names, bounded labels, never a task id.

Pure: reads the projection and the hub, changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from outrider.broker.states import AgentState
from outrider.ledger.calibration import Coverage
from outrider.ui.hub import Hub
from outrider.ui.projection import Projection
from outrider.ui.tally import Histogram, Tally

Labels = Mapping[str, str]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(hub: Hub, lag: int, version: str) -> str:
    """The whole page."""
    projection = hub.projection
    lines = [
        *_family("outrider_build_info", "gauge", "Version of the bridge.", [({"version": version}, 1)]),
        *_family("outrider_nats_up", "gauge", "Whether NATS is connected.", [({}, int(hub.is_linked))]),
        *_tasks(projection),
        *_agents(projection),
        *_tally(projection.tally),
        *_bridge(hub, lag),
    ]
    return "\n".join(lines) + "\n"


def _tasks(projection: Projection) -> list[str]:
    tally = projection.tally
    states: Counter[str] = Counter(task.as_row()["state"] for task in projection.live.values())
    states["queued"] += projection.waiting
    length: Counter[str] = Counter()
    for queue in projection.queues:
        length[tally.label(queue.kind or "unknown")] += queue.waiting
    return [
        *_family("outrider_tasks", "gauge", "Tasks that are not over.", _by("state", states)),
        *_family("outrider_queue_length", "gauge", "Tasks that wait.", _by("kind", length)),
    ]


def _agents(projection: Projection) -> list[str]:
    rows = list(projection.roster.rows.values())
    states = Counter({state.value: 0 for state in AgentState})
    states.update(str(row["state"]) for row in rows)
    serving = [row for row in rows if row["state"] != AgentState.OFFLINE.value]
    slots, in_use = (sum(int(row[name]) for row in serving) for name in ("slots", "in_flight"))
    return [
        *_family("outrider_agents", "gauge", "Agents by state.", _by("state", states)),
        *_family("outrider_slots", "gauge", "Slots of agents that are not offline.", [({}, slots)]),
        *_family("outrider_slots_in_use", "gauge", "Slots that hold an attempt.", [({}, in_use)]),
    ]


def _tally(tally: Tally) -> list[str]:
    finished = [({"kind": kind, "state": state}, n) for (kind, state), n in sorted(tally.finished.items())]
    attempts = [({"kind": kind, "outcome": how}, n) for (kind, how), n in sorted(tally.attempts.items())]
    return [
        *_family("outrider_tasks_finished_total", "counter", "Tasks that are over.", finished),
        *_family("outrider_attempts_total", "counter", "Attempts that ended.", attempts),
        *_family(
            "outrider_router_decisions_total",
            "counter",
            "Assignments by reason.",
            _by("reason", tally.decisions),
        ),
        *_calibration(tally),
        *_family(
            "outrider_hedged_total", "counter", "Second attempts beside a slow one.", [({}, tally.hedged)]
        ),
        *_family("outrider_entries_ignored_total", "counter", "Entries not allowed.", [({}, tally.ignored)]),
        *_histograms("outrider_task_waiting_seconds", "Ready and not running.", tally.waiting),
        *_histograms("outrider_attempt_service_seconds", "Running.", tally.service),
        *_histograms("outrider_task_sojourn_seconds", "From submission to the end.", tally.sojourn),
    ]


def _calibration(tally: Tally) -> list[str]:
    named = {kind: found for kind, found in tally.calibration.by_kind().items() if tally.label(kind) == kind}
    rows: list[tuple[Labels, Coverage]] = [({}, tally.calibration.coverage())]
    rows += [({"kind": kind}, found) for kind, found in named.items()]
    shares = [
        ({**labels, "quantile": quantile}, share)
        for labels, found in rows
        for quantile, share in (("0.5", found.p50_coverage), ("0.9", found.p90_coverage))
        if share is not None
    ]
    text = "Share of the newest attempts within the predicted quantile; without a kind: of all."
    attempts = [(labels, found.attempts) for labels, found in rows]
    return [
        *_family("outrider_router_coverage", "gauge", text, shares),
        *_family("outrider_router_coverage_attempts", "gauge", "Attempts that coverage is of.", attempts),
    ]


def _bridge(hub: Hub, lag: int) -> list[str]:
    return [
        *_family("outrider_bridge_viewers", "gauge", "Open sockets.", [({}, len(hub.viewers))]),
        *_family("outrider_bridge_frames_total", "counter", "Messages sent.", [({}, hub.frames_sent)]),
        *_family("outrider_bridge_resyncs_total", "counter", "Snapshots after a gap.", [({}, hub.resyncs)]),
        *_family("outrider_bridge_lag_events", "gauge", "Ledger entries not read yet.", [({}, lag)]),
    ]


def _by(label: str, counts: Mapping[str, int]) -> list[tuple[Labels, float]]:
    return [({label: key}, value) for key, value in sorted(counts.items())]


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[Labels, float]]) -> list[str]:
    head = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    return head + [f"{name}{_labels(labels)} {value:g}" for labels, value in samples]


def _histograms(name: str, text: str, by_kind: Mapping[str, Histogram]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} histogram"]
    for kind, histogram in sorted(by_kind.items()):
        below = 0
        for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
            below += count
            lines.append(f"{name}_bucket{_labels({'kind': kind, 'le': f'{bound:g}'})} {below}")
        lines.append(f"{name}_bucket{_labels({'kind': kind, 'le': '+Inf'})} {histogram.count}")
        lines.append(f"{name}_sum{_labels({'kind': kind})} {histogram.total:.6f}")
        lines.append(f"{name}_count{_labels({'kind': kind})} {histogram.count}")
    return lines


def _labels(labels: Labels) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    inside = ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""
