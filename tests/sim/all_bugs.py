"""Every planted bug, by name: importing a file of bugs registers them."""

from tests.sim import (  # noqa: F401
    operator_bugs,
    planted_bugs,
    planted_flow_bugs,
    planted_hedge_bugs,
    planted_later_bugs,
    planted_limit_bugs,
    planted_overload,
    planted_queue_bugs,
    planted_snapshot_bugs,
    planted_submit_bugs,
)
from tests.sim.planting import BUGS, planted

__all__ = ["BUGS", "planted"]
