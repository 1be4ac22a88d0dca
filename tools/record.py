"""Record `make demo` as a picture for the README: python tools/record.py -> docs/demo.svg."""

from __future__ import annotations

import io
import pathlib
import re
import subprocess
import sys
import tempfile

from rich.console import Console
from rich.text import Text

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main() -> None:
    """Run the demo and draw what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(pathlib.Path(sys.executable).with_name("hyperexport")), "demo", "-o", folder]
        shown = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    shown = shown.replace(folder, "DIR")
    shown = re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:PORT", shown)
    console = Console(record=True, width=110, file=io.StringIO())
    console.print(Text("$ make demo", style="bold"))
    console.print(Text(shown), overflow="fold")
    console.save_svg(str(ROOT / "docs" / "demo.svg"), title="make demo", unique_id="demo")


if __name__ == "__main__":
    main()
