#!/usr/bin/env bash
# Makes .venv ready: what Debian must bring, then the locked Python packages, then this project. Quick when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

need=()
command -v qemu-img >/dev/null || need+=(qemu-utils)
command -v "$python" >/dev/null || need+=(python3)
# The run store of a fleet is tested on a real Postgres, outages on real network namespaces.
[ -n "$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null)" ] || need+=(postgresql)
# The tests mount file systems of these kinds.
PATH=$PATH:/usr/sbin:/sbin
for pair in bindfs:bindfs mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs mkfs.exfat:exfatprogs mount.exfat-fuse:exfat-fuse ip:iproute2 nft:nftables; do
  command -v "${pair%%:*}" >/dev/null || need+=("${pair#*:}")
done
"$python" -c 'import ensurepip, venv' 2>/dev/null || need+=(python3-venv)
if [ ${#need[@]} -gt 0 ]; then
  root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "needs ${need[*]}: run as root, or install sudo" >&2; exit 1; }
    root=(sudo)
  fi
  echo "installing ${need[*]}" >&2
  "${root[@]}" apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -q --no-install-recommends "${need[@]}" >/dev/null
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python 3.11 or newer, $python is older" >&2; exit 1; }

stamp=$(cat requirements/dev.lock pyproject.toml | sha256sum)
if [ "$(cat .venv/.stamp 2>/dev/null || true)" != "$stamp" ]; then
  echo "installing the locked packages into .venv (about half a minute)" >&2
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.lock
  .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
  echo "$stamp" > .venv/.stamp
fi
# Every command and emulator that a test starts would else compile the sources again, where the environment forbids Python to.
.venv/bin/python -m compileall -q src
