"""`python -m hypersdk_emulator`: serve an emulated cloud until told to stop.

When it is ready it prints one JSON line: `{"endpoint", "token", "ca", "state"}`.
"""

import argparse
import asyncio
import json
import math
import shutil
import signal
import ssl
import sys
import tempfile
from pathlib import Path

from hypersdk_emulator import tls
from hypersdk_emulator.app import OPERATIONS, make_runner
from hypersdk_emulator.assumptions import AssumptionError
from hypersdk_emulator.cloud import Cloud, Options
from hypersdk_emulator.listener import Listener
from hypersdk_emulator.seeds import seeding
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
    return parser


def pace(text: str) -> float:
    """A finite number from 0."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number


async def serve(arguments: argparse.Namespace, state: Path, seed: Seed | None) -> None:
    """Serve until SIGINT or SIGTERM."""
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
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ready = {
        "endpoint": f"{'https' if authority else 'http'}://{listener.netloc}",
        "token": cloud.token,
        "ca": str(authority.ca) if authority else None,
        "state": str(state),
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    await stop.wait()
    cloud.holds.release()
    await runner.cleanup()
    await cloud.close()


def _context(authority: tls.Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    return context


def main() -> int:
    """Run; exit status 2 for a bad seed or assumption."""
    arguments = parser().parse_args()
    temporary = None if arguments.state else Path(tempfile.mkdtemp(prefix="hypersdk-emulator-"))
    try:
        seed = seeding.read_file(arguments.seed) if arguments.seed else None
        asyncio.run(serve(arguments, temporary or arguments.state.absolute(), seed))
    except (SeedError, AssumptionError) as error:
        sys.stderr.write(f"hypersdk_emulator: {error}\n")
        return 2
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
