"""Where `outrider` and `python -m outrider.cli` begin. Imports nothing before it can answer Ctrl-C."""

import sys


def main() -> int:
    """Run the command line of this process; returns the exit code."""
    try:
        from outrider.cli.main import main as run  # noqa: PLC0415 - that takes a while
    except KeyboardInterrupt:
        sys.stderr.write("outrider: interrupted\n")
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
