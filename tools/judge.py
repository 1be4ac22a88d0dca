"""Start an emulator, let the real clients of tests/clients judge it, and hold the result against the list of gaps.

Fails when a case fails that the list does not name, and when a named case passes. Usage: judge.py [FILTER]
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
GAPS = ROOT / "tests" / "clients-uncovered.txt"


def gaps() -> dict[str, str]:
    """Case name -> why the emulator does not pass it."""
    found = {}
    for line in GAPS.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.partition(" ")
            if not reason.strip():
                sys.exit(f"{GAPS.name}: {name} has no reason")
            found[name] = reason.strip()
    return found


def same_as_shared() -> None:
    """Say when the copy of the kit differs from the one beside the checkout, if there is one."""
    shared = ROOT.parent / "shared" / "clients"
    if shared.is_dir():
        names = sorted(p.name for p in shared.iterdir() if p.is_file())
        _, differ, missing = filecmp.cmpfiles(shared, KIT, names, shallow=False)
        print(
            f"# tests/clients differs from the shared kit: {differ + missing}"
            if differ or missing
            else "# tests/clients is the shared kit"
        )


def judge(endpoint: str, token: str, pattern: list[str]) -> dict[str, tuple[str, str]]:
    """Run the kit; case name -> (outcome, reason)."""
    environ = {**os.environ, "HYPERSDK_CLIENTS_TOKEN": token}
    outcomes = {}
    with subprocess.Popen(
        ["bash", str(KIT / "run.sh"), endpoint, *pattern], env=environ, stdout=subprocess.PIPE, text=True
    ) as kit:
        assert kit.stdout is not None
        for line in kit.stdout:
            print(line, end="", flush=True)
            head, _, reason = line.strip().partition(": ")
            outcome, _, name = head.rpartition(" ")
            if outcome in {"ok", "not ok", "skip"}:
                outcomes[name] = (outcome, reason)
    if not outcomes:
        sys.exit("the kit judged nothing")
    return outcomes


def main() -> int:
    """Run and compare; the exit status is for CI."""
    same_as_shared()
    listed = gaps()
    with tempfile.TemporaryDirectory(prefix="judge-") as folder:
        # A seed sent over HTTP may name files only below the seed root; the kit makes its disks in the temp folder.
        # The kit looks for an empty bucket while EXPORTING; another source saw a status object there, our default.
        options = [
            "--port",
            "0",
            "--state",
            folder,
            "--seed-root",
            tempfile.gettempdir(),
            "--assume",
            "status-object=off",
        ]
        command = [sys.executable, "-m", "hypersdk_emulator", *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as emulator:
            try:
                assert emulator.stdout is not None
                ready = json.loads(emulator.stdout.readline())
                outcomes = judge(ready["endpoint"], ready["token"], sys.argv[1:2])
            finally:
                emulator.terminate()
    bad = [
        f"{name}: {reason}"
        for name, (outcome, reason) in outcomes.items()
        if outcome == "not ok" and name not in listed
    ]
    stale = [name for name in listed if outcomes.get(name, ("", ""))[0] == "ok"]
    for text in bad:
        print(f"FAILED {text}")
    for name in stale:
        print(f"FAILED {name}: passes, so take it off {GAPS.name}")
    ok = sum(outcome == "ok" for outcome, _ in outcomes.values())
    known = sum(outcome == "not ok" and name in listed for name, (outcome, _) in outcomes.items())
    skipped = sum(outcome == "skip" for outcome, _ in outcomes.values())
    print(f"# {known} cases fail as listed in {GAPS.name}")
    print(f"{ok} passed, {len(bad) + len(stale)} failed, {skipped} skipped")
    return 1 if bad or stale else 0


if __name__ == "__main__":
    sys.exit(main())
