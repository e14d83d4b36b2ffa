"""What an evaluation can be asked for, by name, and what it does unasked. Imports nothing: help is quick."""

POLICIES = (
    "random",
    "round_robin",
    "least_outstanding",
    "least_outstanding_per_slot",
    "power_of_two",
    "peak_ewma",
    "prequal",
    "litellm_latency",
    "litellm_least_busy",
    "table_drift",
    "outrider",
    "outrider_hedged",
    "oracle",
)
TRACES = ("conv", "code")
LOADS = (0.5, 0.7, 0.85)
MEASURED_SCENARIOS = ("base", "known", "newcomers")
STRESS_SCENARIOS = ("base", "instant_429", "hangs", "outage", "drift_steps", "join_leave")
BENCHES = {"R": MEASURED_SCENARIOS, "S": STRESS_SCENARIOS}
"""Each bench's scenarios."""
USUAL_SCENARIOS = {"R": ("base",), "S": STRESS_SCENARIOS}
