"""Command line interface as a module: ``python -m skfusion``."""

from __future__ import annotations

import sys

from skfusion.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
