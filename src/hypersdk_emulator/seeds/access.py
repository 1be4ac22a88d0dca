"""Finds, or makes, somebody whose private key is at hand, so that clients can be pointed at the cloud at once."""

import configparser
import json
from pathlib import Path

from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.guide import PROFILE, Login
from hypersdk_emulator.identity import users
from hypersdk_emulator.resources import OCID_ALPHABET, OCID_LENGTH
from hypersdk_emulator.seeds.keypair import write_key


def find_login(cloud: Cloud, folder: Path, seed: Path | None) -> Login | None:
    """Who the files for clients speak for.

    That is the user of the `config` in the folder (an earlier start made it), else of the `config` beside the seed; in
    a cloud without users, a new one.

    Args:
        cloud: seeded already.
        folder: where the files for clients stand.
        seed: the seed's file.

    Returns:
        None if the cloud's users have keys that are somewhere else.
    """
    for config in (folder / "config", *([] if seed is None else [seed.parent / "config"])):
        login = _read(cloud, config)
        if login is not None:
            return login
    if cloud.db.one("SELECT 1 FROM users") is None:
        return _make(cloud, folder)
    return None


def first_compartment(cloud: Cloud) -> str:
    """OCID of the compartment to begin with: the first one of the seed, or the tenancy."""
    row = cloud.db.one("SELECT id FROM compartments ORDER BY created, id LIMIT 1")
    return cloud.settings.tenancy_id if row is None else str(row["id"])


def first_bucket(cloud: Cloud) -> str | None:
    """Name of the oldest bucket, if there is one."""
    row = cloud.db.one("SELECT name FROM buckets ORDER BY created, name LIMIT 1")
    return None if row is None else str(row["name"])


def _read(cloud: Cloud, config: Path) -> Login | None:
    """The login of a configuration, if its key exists and the cloud knows it."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error):
        return None
    values = parser.defaults() if parser.default_section == PROFILE else parser[PROFILE]
    tenancy, user, fingerprint = (values.get(name, "") for name in ("tenancy", "user", "fingerprint"))
    key_file = (config.parent / Path(values.get("key_file", "")).expanduser()).absolute()
    known = cloud.db.one("SELECT 1 FROM api_keys WHERE key_id = ?", f"{tenancy}/{user}/{fingerprint.lower()}")
    if known is None or not key_file.is_file():
        return None
    return Login(tenancy, user, fingerprint, str(key_file), _secret_key(cloud, user))


def _secret_key(cloud: Cloud, user: str) -> tuple[str, str] | None:
    row = cloud.db.one("SELECT doc FROM users WHERE id = ?", user)
    keys = [] if row is None else json.loads(row["doc"]).get("secretKeys", [])
    return (keys[0]["accessKey"], keys[0]["secretKey"]) if keys else None


def _make(cloud: Cloud, folder: Path) -> Login:
    user = f"ocid1.user.oc1..{cloud.random.text('ocid user', OCID_ALPHABET, OCID_LENGTH)}"
    secret_key = cloud.random.hex("access key", 20), cloud.random.urlsafe("secret key", 32)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key_file = folder / "key.pem"
    public_pem, fingerprint = write_key(key_file)
    with cloud.db.transaction():
        doc = {"secretKeys": [{"accessKey": secret_key[0], "secretKey": secret_key[1]}]}
        users.add_user(cloud, user, "local", doc)
        users.add_api_key(cloud, user, fingerprint, public_pem)
    return Login(cloud.settings.tenancy_id, user, fingerprint, str(key_file), secret_key)
