"""File systems of every kind for tests, in loop images that are mounted for as long as a test module needs them.

Mounting takes root. A test process that is not root asks `sudo -n` (`make test` sees to it that sudo asks for no
password). Each mount belongs to a shell that waits for the end of its standard input: when the test process ends,
however it ends, the shell unmounts and deletes the image.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READY = "mounted"

_FRAME = """
image=$1 at=$2 owner=$3
{make}
chown "$owner" "$at" 2>/dev/null || true
echo {ready}
cat >/dev/null
cd /
for try in 1 2 3 4 5 6 7 8 9 10; do umount "$at" 2>/dev/null && break || sleep 0.1; done
mountpoint -q "$at" && umount -l "$at"
{undo}
rm -rf "$image"
"""

_IMAGE = 'truncate -s {size} "$image"\n'
_LOOP = 'mount -o loop "$image" "$at"'


@dataclass(frozen=True)
class Kind:
    """A kind of file system, and what it can do.

    Attributes:
        name: for people.
        make: shell commands that mount `$image` (a path of its own) at `$at`.
        undo: shell commands for what is left after unmounting `$at`.
        links: it has hard links.
        sparse: blocks that were never written take no room.
        direct: O_DIRECT goes past the page cache.
    """

    name: str
    make: str
    undo: str = ":"
    links: bool = True
    sparse: bool = True
    direct: bool = True


EXT4 = Kind("ext4", _IMAGE.format(size="96M") + f'mkfs.ext4 -q "$image"\n{_LOOP}')
XFS = Kind("xfs", _IMAGE.format(size="300M") + f'mkfs.xfs -q "$image"\n{_LOOP}')
BTRFS = Kind("btrfs", _IMAGE.format(size="128M") + f'mkfs.btrfs -q "$image" >/dev/null\n{_LOOP}')
SECTORS_4K = Kind(
    "ext4 on 4 KiB sectors",
    _IMAGE.format(size="96M")
    + """dev=$(losetup --sector-size 4096 --find --show "$image")
mkfs.ext4 -q "$dev"
mount "$dev" "$at"
""",
    'losetup -d "$dev"',
)
OVERLAY = Kind(
    "overlay",
    """mkdir "$image"
truncate -s 96M "$image/disk"
mkfs.ext4 -q "$image/disk"
mkdir "$image/base"
mount -o loop "$image/disk" "$image/base"
mkdir "$image/base/lower" "$image/base/upper" "$image/base/work"
echo "of the lower layer" >"$image/base/lower/below"
chown -R "$owner" "$image/base/lower"
mount -t overlay overlay -o "lowerdir=$image/base/lower,upperdir=$image/base/upper,workdir=$image/base/work" "$at"
""",
    'umount "$image/base" || umount -l "$image/base"',
)
TMPFS = Kind("tmpfs", 'mount -t tmpfs -o size=96m hypersdk-test "$at"', direct=False)
FUSE = Kind(
    "FUSE (bindfs)",
    'mkdir "$image"\nchown "$owner" "$image"\nbindfs -o allow_other "$image" "$at"',
)
EXFAT = Kind(
    "exFAT (FUSE)",
    _IMAGE.format(size="96M")
    + """mkfs.exfat "$image" >/dev/null
dev=$(losetup --find --show "$image")
mount.exfat-fuse "$dev" "$at" -o "allow_other,uid=$owner" >/dev/null
""",
    'losetup -d "$dev"',
    links=False,
    sparse=False,
)
KINDS = (EXT4, XFS, BTRFS, SECTORS_4K, OVERLAY, TMPFS, FUSE, EXFAT)


def as_root(*command: str) -> list[str]:
    """A command as root runs it."""
    return [*(() if os.geteuid() == 0 else ("sudo", "-n")), *command]


def run_as_root(*command: str) -> None:
    """Run a command as root; it must succeed."""
    done = subprocess.run(as_root(*command), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"


@contextmanager
def mounted(kind: Kind, folder: Path) -> Iterator[Path]:
    """A fresh, empty file system.

    Args:
        kind: its kind.
        folder: a directory of our own; the image and the mount point are made there.

    Yields:
        Its root, which belongs to the caller.
    """
    at = folder / "mounted"
    at.mkdir()
    script = _FRAME.format(make=kind.make, undo=kind.undo, ready=READY)
    command = as_root("sh", "-ec", script, "sh", str(folder / "image"), str(at), str(os.getuid()))
    # A process group of its own: Ctrl-C ends the test, whose end ends the mount.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        assert shell.stderr is not None
        ready = shell.stdout.readline().strip()
        assert ready == READY, f"no {kind.name} here: {shell.stderr.read() or ready}"
        try:
            yield at
        finally:
            shell.stdin.close()
            shell.wait()
    assert shell.returncode == 0, f"{kind.name} could not be taken away"
    at.rmdir()
