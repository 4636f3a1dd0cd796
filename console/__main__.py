"""The entry point: `slipway`, and `python -m console`."""

from __future__ import annotations

import sys
from typing import NoReturn


def run() -> NoReturn:
    """Ctrl-C is answered the same way while the program is still being imported."""
    try:
        from console.main import main

        status = main()
    except KeyboardInterrupt:
        print("slipway: stopped", file=sys.stderr)
        status = 130  # `main.INTERRUPTED`, which may not be there yet
    sys.exit(status)


if __name__ == "__main__":
    run()
