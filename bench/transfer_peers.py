"""Who takes part, and how each is called: a contestant turns a task into a command.

Every command is what a user would type: whole process, start-up included. The peers' versions are those that
tests/clients/requirements.txt pins; "best" settings are what their documentation offers for one large object on a fast
line, tried out on this bench (bench/README.md says with which results).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transfer_site import BUCKET, HERE, NAMESPACE, Site

CLIENTS = HERE.parent / "tests" / "clients"
OURS = "hyperexport cp"
_CACHE = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
VENV = Path(os.environ.get("HYPERSDK_CLIENTS_VENV") or Path(_CACHE) / "hypersdk-clients")


@dataclass(frozen=True)
class Task:
    """One object or prefix to move.

    Attributes:
        site: where.
        endpoint: base URL; of the site itself, or of a link before it.
        name: object name, or prefix.
        path: file, or directory.
    """

    site: Site
    endpoint: str
    name: str
    path: Path

    @property
    def url(self) -> str:
        """The plain https address."""
        return f"{self.endpoint}/n/{NAMESPACE}/b/{BUCKET}/o/{self.name}"


Command = Callable[[Task], Sequence[str | Path]]


@dataclass(frozen=True)
class Contestant:
    """A program with its settings.

    Attributes:
        name: for the table.
        get: command that downloads an object; None = it cannot.
        put: command that uploads a file.
        get_all: command that downloads a prefix.
        put_all: command that uploads a directory.
        env: environment for a task.
        checks: what it verifies by itself, down and up.
        slow: a candidate for fewer rounds on large objects.
    """

    name: str
    get: Command | None = None
    put: Command | None = None
    get_all: Command | None = None
    put_all: Command | None = None
    env: Callable[[Task], Mapping[str, str]] = lambda _: {}
    checks: str = ""
    slow: bool = False


PROGRAMS = (("nginx", "nginx-light"), ("gcc", "gcc"), ("ip", "iproute2"), ("curl", "curl"))
"""What is needed of Debian, with the package that has it."""


def install() -> None:
    """Install what is missing: programs of Debian (as root or by sudo), the peers in their own venv."""
    missing = [package for program, package in PROGRAMS if not _found(program)]
    if not Path("/usr/include/openssl/ssl.h").exists():
        missing.append("libssl-dev")
    if missing:
        sudo = [] if os.getuid() == 0 else ["sudo"]
        install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing]
        subprocess.run([*sudo, "apt-get", "update", "-qq"], check=True, stdout=sys.stderr)
        subprocess.run([*sudo, *install], check=True, stdout=sys.stderr)
    # The kit installs its venv before it does anything else; --list only lists its cases.
    env = {**os.environ, "HYPERSDK_CLIENTS_VENV": str(VENV)}
    subprocess.run([CLIENTS / "run.sh", "--list"], check=True, stdout=subprocess.DEVNULL, env=env)


def _found(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is not None


def reference(folder: Path) -> Path:
    """Compile the C program that only receives."""
    program = folder / "receive_only"
    source = HERE / "receive_only.c"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["gcc", "-O2", "-o", program, source, "-lssl", "-lcrypto"], check=True)
    return program


def contestants(folder: Path) -> dict[str, Contestant]:
    """Everybody, by name."""
    receive = reference(folder)
    rclone = VENV / "bin" / "rclone"
    everybody = [
        _ours(),
        Contestant(OURS + " https://", get=lambda task: [*_cp(), task.url, task.path], env=_our_env, checks="CRC32C"),
        _rclone("rclone, best", rclone, down=RCLONE_DOWN, up=RCLONE_UP),
        _rclone("rclone, defaults", rclone),
        _sdk("SDK managers, best", "16777216", "8"),
        _sdk("SDK managers, defaults"),
        _cli(),
        Contestant(
            "curl, one stream",
            get=lambda task: ["curl", "-sSf", "--cacert", task.site.authority, "-o", task.path, task.url],
            checks="nothing",
        ),
        Contestant("C, receives only", get=lambda task: _received(receive, task)),
        Contestant("C, receives only, plain", get=lambda task: [*_received(receive, task), "plain"]),
        Contestant(
            "dd, writes only",
            get=lambda task: [
                "dd", f"if={task.site.objects / task.name}", f"of={task.path}", "bs=4M", "iflag=fullblock",
                "oflag=direct", "conv=fsync", "status=none",
            ],
        ),
    ]  # fmt: skip
    return {each.name: each for each in everybody}


def _received(receive: Path, task: Task) -> list[str | Path]:
    path, size = task.url.partition(str(task.site.port))[2], (task.site.objects / task.name).stat().st_size
    return [receive, "127.0.0.1", str(task.site.port), path, str(size), "8", str(16 << 20)]


RCLONE_DOWN = ("--multi-thread-streams", "8", "--multi-thread-cutoff", "64M")
RCLONE_UP = ("--oos-chunk-size", "16M", "--oos-disable-checksum")


def _cp() -> list[str | Path]:
    return [Path(sys.executable).parent / "hyperexport", "cp", "--quiet"]


def _our_env(task: Task) -> dict[str, str]:
    return {
        "HYPEREXPORT_OCI_CONFIG_FILE": str(task.site.profile),
        "HYPEREXPORT_OCI_ENDPOINT": task.endpoint,
        "HYPEREXPORT_OCI_CERT_BUNDLE": str(task.site.authority),
        "HOME": str(task.site.folder),
    }


def _oci_url(task: Task) -> str:
    return f"oci://{NAMESPACE}/{BUCKET}/{task.name}"


def _ours() -> Contestant:
    return Contestant(
        OURS,
        get=lambda task: [*_cp(), _oci_url(task), task.path],
        put=lambda task: [*_cp(), task.path, _oci_url(task)],
        get_all=lambda task: [*_cp(), "-r", f"{_oci_url(task)}/", f"{task.path}/"],
        put_all=lambda task: [*_cp(), "-r", f"{task.path}/", f"{_oci_url(task)}/"],
        env=_our_env,
        checks="CRC32C of each part and of the whole, both ways",
    )


def _rclone(name: str, program: Path, *, down: Sequence[str] = (), up: Sequence[str] = ()) -> Contestant:
    def command(verb: str, source: str | Path, target: str | Path, *more: str) -> list[str | Path]:
        return [program, verb, *more, source, target]

    def env(task: Task) -> dict[str, str]:
        remote = {"TYPE": "oracleobjectstorage", "PROVIDER": "user_principal_auth", "NAMESPACE": NAMESPACE}
        remote |= {"COMPARTMENT": "ocid1.tenancy.oc1..bench", "REGION": "us-ashburn-1", "ENDPOINT": task.endpoint}
        remote |= {"CONFIG_FILE": str(task.site.profile), "CONFIG_PROFILE": "DEFAULT"}
        return {
            **{f"RCLONE_CONFIG_OOS_{key}": value for key, value in remote.items()},
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CA_CERT": str(task.site.authority),
        }

    def remote(task: Task) -> str:
        return f"oos:{BUCKET}/{task.name}"

    return Contestant(
        name,
        get=lambda task: command("copyto", remote(task), task.path, *down),
        put=lambda task: command("copyto", task.path, remote(task), "--ignore-times", *up),
        get_all=lambda task: command("copy", remote(task), task.path),
        put_all=lambda task: command("copy", task.path, remote(task)),
        env=env,
        checks="down: nothing unless the object carries rclone's own MD5; up: MD5 of each part and of the file",
    )


def _sdk(name: str, *cut: str) -> Contestant:
    def command(verb: str, task: Task) -> list[str | Path]:
        where: list[str | Path] = [task.endpoint, task.site.authority, task.site.profile, NAMESPACE, BUCKET]
        return [VENV / "bin" / "python", HERE / "transfer_sdk.py", verb, *where, task.name, task.path, *cut]

    return Contestant(
        name,
        get=lambda task: command("get", task),
        put=lambda task: command("put", task),
        env=_python_env,
        checks="down: nothing; up: MD5 and CRC32C of each part",
        slow=True,
    )


def _python_env(task: Task) -> dict[str, str]:
    # The variable stands before what is said on the command line or in code.
    return {"HOME": str(task.site.folder), "REQUESTS_CA_BUNDLE": str(task.site.authority)}


def _cli() -> Contestant:
    def command(verb: str, task: Task, *more: str) -> list[str | Path]:
        where: list[str | Path] = [
            "--config-file",
            task.site.profile,
            "--endpoint",
            task.endpoint,
            "--cert-bundle",
            task.site.authority,
        ]
        return [VENV / "bin" / "oci", "os", "object", verb, *where, "-ns", NAMESPACE, "-bn", BUCKET, *more]

    return Contestant(
        "OCI CLI",
        get=lambda task: command("get", task, "--name", task.name, "--file", str(task.path)),
        put=lambda task: command(
            "put", task, "--name", task.name, "--file", str(task.path), "--force", "--opc-checksum-algorithm", "CRC32C"
        ),
        get_all=lambda task: command(
            "bulk-download", task, "--prefix", f"{task.name}/", "--download-dir", str(task.path), "--overwrite"
        ),
        put_all=lambda task: command(
            "bulk-upload", task, "--prefix", f"{task.name}/", "--src-dir", str(task.path), "--overwrite"
        ),
        env=lambda task: {**_python_env(task), "SUPPRESS_LABEL_WARNING": "True"},
        checks="down: nothing; up: MD5 and CRC32C of each part",
        slow=True,
    )
