"""`python -m cones` is `cones`: from the first moment on an interruption is one line."""

import signal
import sys
from types import FrameType


def main() -> None:
    """The program `cones`."""
    try:
        signal.signal(signal.SIGTERM, _terminate)
        from cones.cli import program as cli

        cli.main()
    except KeyboardInterrupt as stop:  # before or after a command; it says more itself
        print(f"cones: {str(stop) or 'interrupted'}", file=sys.stderr)
        sys.exit(143 if stop.args else 130)


def _terminate(_: int, __: FrameType | None) -> None:
    """Ends the program as Ctrl-C does."""
    raise KeyboardInterrupt("terminated")


if __name__ == "__main__":
    main()
