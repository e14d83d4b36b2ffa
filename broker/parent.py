"""Children that end with the program that started them, however that program ends.

Linux only (elsewhere it does nothing): the kernel sends SIGKILL when the starting thread is gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> Callable[[], None] | None:
    """What to give to Popen as `preexec_fn`, from the thread that lives as long as the child should."""
    if not sys.platform.startswith("linux"):
        return None
    parent = os.getpid()
    # Looked up here: between fork and exec nothing may be imported or allocated at length.
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return in_child
