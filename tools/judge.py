"""Start an emulator and let the real clients of tests/clients judge it: every case, S3 included, none may be skipped.

The exit status, and the last line, are the kit's. Usage: judge.py [FILTER]
"""

from __future__ import annotations

import filecmp
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
KIT = ROOT / "tests" / "clients"
REGION = "us-ashburn-1"
# Two things that the kit takes for granted and others saw otherwise; the emulator's own tests run with its defaults.
# The kit looks for an empty bucket while EXPORTING, where one script saw a status object; boto3's DeleteObjects sends
# a CRC32, which OCI refused to somebody as no checksum at all (activepieces issue 14110).
KIT_ASSUMES = ("status-object=off", "s3-delete-crc32=on")


def same_as_shared() -> None:
    """Say when the copy of the kit differs from the one beside the checkout, if there is one."""
    shared = ROOT.parent / "shared" / "clients"
    if shared.is_dir():
        names = sorted(p.name for p in shared.iterdir() if p.is_file())
        _, differ, missing = filecmp.cmpfiles(shared, KIT, names, shallow=False)
        print(
            f"# tests/clients differs from the shared kit: {differ + missing}"
            if differ or missing
            else "# tests/clients is the shared kit",
            flush=True,
        )


def judge(endpoint: str, token: str, pattern: list[str]) -> int:
    """Run the kit; its exit status."""
    environ = {
        **os.environ,
        "HYPERSDK_CLIENTS_TOKEN": token,
        "HYPERSDK_CLIENTS_S3_ENDPOINT": endpoint,
        "HYPERSDK_CLIENTS_S3_REGION": REGION,
        "HYPERSDK_CLIENTS_NO_SKIP": "1",
    }
    return subprocess.run(["bash", str(KIT / "run.sh"), endpoint, *pattern], env=environ, check=False).returncode


def main() -> int:
    """Run; the exit status is for CI."""
    same_as_shared()
    with tempfile.TemporaryDirectory(prefix="judge-") as folder:
        # A seed sent over HTTP may name files only below the seed root; the kit makes its disks in the temp folder.
        options = ["--port", "0", "--state", folder, "--seed-root", tempfile.gettempdir()]
        options += [word for each in KIT_ASSUMES for word in ("--assume", each)]
        command = [sys.executable, "-m", "hypersdk_emulator", *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as emulator:
            try:
                assert emulator.stdout is not None
                ready = json.loads(emulator.stdout.readline())
                return judge(ready["endpoint"], ready["token"], sys.argv[1:2])
            finally:
                emulator.terminate()


if __name__ == "__main__":
    sys.exit(main())
