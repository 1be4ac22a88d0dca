"""Writes `docs/fault-outcomes.md`, the page of what comes of every fault."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "fault-outcomes.md"


def main() -> int:
    """Write it."""
    sys.path.insert(0, str(ROOT / "tests" / "harness"))
    from fault_outcomes import page

    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
