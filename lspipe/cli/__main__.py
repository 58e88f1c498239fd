"""`python -m lspipe.cli` is `lspipe`."""

from __future__ import annotations

import sys

from lspipe.cli import main

if __name__ == "__main__":
    sys.exit(main())
