"""Records a run store as an older hypersdk wrote it, with a finished run and one that was killed: `version-1.sql`.

    git archive eceaf73 src | tar x -C OLD
    python tests/data/runs/record.py OLD/src

The older program exports into the directory /srv/exports, which must exist and be empty; so its runs have the same keys
whenever this is run again.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "harness"))

from emulator import Emulator, make_seed  # noqa: E402 - found by the line above

EXPORTS = Path("/srv/exports")


def main(old: str) -> None:
    """Run the older program against the emulator."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        seed = make_seed(home / "seed", instances={"web-01": "STOPPED", "web-02": "STOPPED"}, disks=1)
        emulator = Emulator(seed, home / "state").start()
        state = home / "runs.sqlite"
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "PYTHONPATH": old,
            "HYPEREXPORT_STATE": str(state),
            "HYPEREXPORT_RETRY_INITIAL_DELAY": "0.01s",
        }
        cloud = ["--config-file", str(emulator.config_file), "--endpoint", emulator.endpoint]

        def start(name: str) -> subprocess.Popen[bytes]:
            line = [sys.executable, "-m", "hypersdk.cli", "export", name, "-o", "./", "-bn", "exports", *cloud]
            return subprocess.Popen(line, env=environ, cwd=EXPORTS)

        assert start("web-02").wait() == 0
        emulator.fault("CreateImage", "hold-before")
        killed = start("web-01")
        while not any(fault["holding"] for fault in emulator.faults()):
            time.sleep(0.01)
        killed.kill()
        killed.wait()
        with closing(sqlite3.connect(state)) as database:
            (HERE / "version-1.sql").write_text("\n".join(database.iterdump()) + "\n")
        emulator.control("DELETE", "faults")
        emulator.stop()
    for path in EXPORTS.iterdir():
        path.unlink()


if __name__ == "__main__":
    main(sys.argv[1])
