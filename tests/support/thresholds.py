"""An orchestrator's thresholds, shortened: what it notices after a while is seen within a second or two."""

from __future__ import annotations

from outrider.orchestrator.config import Thresholds

QUICK = Thresholds(
    heartbeat_s=1.0,
    offline_after_s=6.0,
    ping_every_s=0.5,
    join_silence_s=1.0,
    pulse_every_s=0.2,
    owner_silent_s=1.0,
    resend_assign_s=0.5,
    backoff_first_s=0.05,
    cool_down_s=0.5,
    unfit_first_s=0.1,
)
