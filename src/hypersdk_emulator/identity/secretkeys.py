"""Customer Secret Keys: the key pairs with which users sign calls of the S3-compatible API."""

import json

from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.identity.users import principal_of
from hypersdk_emulator.signatures import Principal


def find(cloud: Cloud, access_key: str) -> tuple[str, Principal] | None:
    """The secret of an access key and the user whose it is, or None if nobody has it."""
    statement = "SELECT id, doc FROM users WHERE instr(doc, ?) > 0"  # narrows; the JSON decides
    for row in cloud.db.all(statement, json.dumps(access_key)):
        for key in json.loads(row["doc"]).get("secretKeys", ()):
            if key["accessKey"] == access_key and (principal := principal_of(cloud, row["id"], "secret_key")):
                return str(key["secretKey"]), principal
    return None
