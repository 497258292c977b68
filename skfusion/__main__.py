"""``python -m skfusion``: the command line without its script."""

from __future__ import annotations

import sys

from skfusion.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
