"""`python -m hypersdk_emulator`: serve an emulated cloud until told to stop.

When it is ready it prints one JSON line: `{"endpoint", "token", "ca", "state", "config", "metadata", "oke"}`.
"""

import argparse
import asyncio
import fcntl
import json
import math
import shutil
import signal
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from hypersdk_emulator import guide, tls
from hypersdk_emulator.app import OPERATIONS, make_runner
from hypersdk_emulator.assumptions import AssumptionError
from hypersdk_emulator.cloud import Cloud, Cluster, Options
from hypersdk_emulator.compute.metadata import METADATA
from hypersdk_emulator.connections import allow_many
from hypersdk_emulator.identity.routes import PARENTS, PROXYMUX
from hypersdk_emulator.identity.workload import PORT
from hypersdk_emulator.listener import Listener
from hypersdk_emulator.seeds import access, seeding
from hypersdk_emulator.seeds.demo_seed import write_demo
from hypersdk_emulator.seeds.node import SeedError
from hypersdk_emulator.seeds.seed import Seed


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser("hypersdk_emulator", description="A private OCI on loopback.")
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=0, help="port; 0 takes a free one (default)")
    add("--state", type=Path, help="directory of its data, continued if it exists (default: a temporary one)")
    add("--seed", type=Path, help="seed JSON to apply at the start")
    add("--demo", action="store_true", help="without --seed and on a new state: a small cloud to begin with")
    add("--guide", action="store_true", help="write files for clients to STATE/client and explain them on stderr")
    add("--seed-root", type=Path, help="files named in a seed sent over HTTP must lie below this directory")
    add("--tls", action="store_true", help="serve https with a certificate of a private CA made at the start")
    add("--assume", action="append", default=[], metavar="NAME=VALUE", help="what nobody knows about OCI; repeatable")
    add("--pace", type=pace, metavar="P", help="transitions take P times OCI's time (0: none); default: the seed's")
    add("--random-seed", metavar="TEXT", help="the same ids, etags, tokens and chances in every run")
    add("--body-timeout", type=float, default=60.0, metavar="SECONDS", help="wait for a request body (default: 60)")
    add(
        "--idle-timeout",
        type=float,
        default=75.0,
        metavar="SECONDS",
        help="close connections without a request for so long",
    )
    add("--metadata-port", type=int, default=0, help="port of the instance metadata service (default: a free one)")
    add("--oke-host", metavar="ADDRESS", help="loopback address of an OKE cluster's stand-in, on port 12250")
    return parser


def pace(text: str) -> float:
    """A finite number from 0."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number


async def serve(arguments: argparse.Namespace, state: Path, seed: Seed | None) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    options = Options(
        state=state,
        seed_root=arguments.seed_root,
        body_timeout=arguments.body_timeout,
        idle_timeout=arguments.idle_timeout,
        pace=arguments.pace,
        assume=tuple(arguments.assume),
        random_seed=arguments.random_seed,
    )
    cloud = Cloud(options, OPERATIONS)
    if seed:
        await seeding.apply(cloud, seed)
    await seeding.resume(cloud)
    authority = tls.make_authority(state / "tls", arguments.host) if arguments.tls else None
    runner = make_runner(cloud)
    await runner.setup()
    context = None if authority is None else _context(authority)
    listener = Listener(runner, arguments.host, arguments.port, context)
    await listener.open()
    cloud.network_away = listener.away
    side = [make_runner(cloud, (*METADATA, *PARENTS)), make_runner(cloud, PROXYMUX)]
    for each in side:
        await each.setup()
    metadata = await _open_metadata(cloud, side[0], arguments.host, arguments.metadata_port)
    if arguments.oke_host:
        await _open_cluster(cloud, side[1], arguments.oke_host)
    endpoint, ca = f"{'https' if authority else 'http'}://{listener.netloc}", str(authority.ca) if authority else None
    ready = {
        "endpoint": endpoint,
        "token": cloud.token,
        "ca": ca,
        "config": _guide(cloud, endpoint, ca, arguments.seed) if arguments.guide else None,
        "state": str(state),
        "metadata": f"http://{metadata.netloc}/opc/v2",
        "oke": None if cloud.oke is None else {"host": cloud.oke.host, "ca": str(cloud.oke.ca)},
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    await stop.wait()
    cloud.holds.release()
    for each in (runner, *side):
        await each.cleanup()
    await cloud.close()


async def _open_metadata(cloud: Cloud, runner: web.ServerRunner, host: str, port: int) -> Listener:
    """Listen as the metadata service: on a port asked for, else on that of the last run if it is free."""
    kept = int(cloud.db.setting("metadata-port") or 0)
    listener = Listener(runner, host, port or kept, None)
    try:
        await listener.open()
    except OSError:
        if port or not kept:
            raise
        listener = Listener(runner, host, 0, None)
        await listener.open()
    cloud.metadata_port = listener.port
    cloud.db.set_setting("metadata-port", listener.port)
    return listener


async def _open_cluster(cloud: Cloud, runner: web.ServerRunner, host: str) -> None:
    """Listen as the proxymux of a cluster, with a CA of its own; the port is written into the SDKs."""
    authority = tls.make_authority(cloud.options.state / "oke" / host.replace(":", "_"), host)
    await Listener(runner, host, PORT, _context(authority)).open()
    cloud.oke = Cluster(host, authority.ca)


def _guide(cloud: Cloud, endpoint: str, ca: str | None, seed: Path | None) -> str | None:
    """Write the files for clients and tell how to use them; returns the configuration's path, if there is one."""
    folder, settings = cloud.options.state / "client", cloud.settings
    login = access.find_login(cloud, folder, seed)
    place = guide.Place(
        endpoint=endpoint,
        ca=ca,
        region=settings.region,
        namespace=settings.namespace,
        compartment=access.first_compartment(cloud),
        token=cloud.token,
        bucket=access.first_bucket(cloud),
    )
    sys.stderr.write(guide.prepare(folder, place, login))
    return None if login is None else str(folder / "config")


def _context(authority: tls.Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    return context


def main() -> int:
    """Run; exit status 2 for a bad seed or assumption, a port or state that somebody else uses."""
    arguments = parser().parse_args()
    allow_many()
    temporary = None if arguments.state else Path(tempfile.mkdtemp(prefix="hypersdk-emulator-"))
    state = temporary or arguments.state.absolute()
    try:
        with _alone(state):
            if arguments.demo and arguments.seed is None and not (state / "cloud.sqlite").exists():
                arguments.seed = write_demo(state / "client")
            seed = seeding.read_file(arguments.seed) if arguments.seed else None
            asyncio.run(serve(arguments, state, seed))
    except (SeedError, AssumptionError, OSError) as error:
        sys.stderr.write(f"hypersdk_emulator: {error}\n")
        return 2
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
    return 0


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Hold the state's lock, which ends with the process.

    Raises:
        OSError: Another emulator holds it, or the directory cannot be made.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another emulator uses {state}") from None
        yield


if __name__ == "__main__":
    sys.exit(main())
