"""What nobody knows for sure about OCI, as switches: `--assume NAME=VALUE`, or the seed's key `assume`.

Each row says what the emulator does by default and who saw it. A product that copes with both values copes with OCI.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self


class AssumptionError(ValueError):
    """No such assumption, or no such value of it."""


@dataclass(frozen=True)
class Assumptions:
    """The switches, by their Python names (`status-object` is `status_object`).

    Args:
        status_object: a tiny JSON object stands at the name late in EXPORTING (one script saw it).
        open_upload: a second multipart upload of the object's name stays open after an export (dstack issue 3914).
        no_work_request_id: CreateImage and ExportImage send no `opc-work-request-id` (2018 recordings).
        work_request_id_list: that header holds two ids with a comma (Terraform provider's source).
        old_etag_in_export: the reply of ExportImage carries the image's etag from before (2018 recordings).
        checksum_in_export: the exporter's object has a CRC32C of its bytes (nobody saw one).
        delete_before_hydrated: a clone of a volume may be deleted before its bytes are copied (nobody knows).
        clones_inherit_tags: a clone has the free-form tags of its source, as backups have (nobody knows).
        retention_403: what a retention rule protects is refused with 403 instead of 409 (nobody published the status).
        restore_conflicts: a second RestoreObjects is refused with 409 (Object Storage's list of codes) instead of 200.
        s3_delete_crc32: S3's DeleteObjects takes a CRC32 for the checksum that it needs (refused: activepieces 14110).
        forbidden_403: who has some right in a compartment gets 403 NotAuthorized for what is refused there, not 404
            (the error list names that code; where it comes nobody tells).
        service_policies: copies and lifecycle rules need `Allow service objectstorage-REGION to manage object-family`
            (documented; without policies in the seed it is never asked).
        lock_minutes: no second image of one instance within this time (documentation).
        terminated_hours: how long a terminated instance, and a deleted volume or backup, is still shown; "at least 12
            hours" (SDK, of instances), a day by default.
        principal_token_minutes: life of the tokens of instances, resources and workloads (nobody documents it).
    """

    status_object: bool = True
    open_upload: bool = True
    no_work_request_id: bool = False
    work_request_id_list: bool = False
    old_etag_in_export: bool = True
    checksum_in_export: bool = False
    delete_before_hydrated: bool = False
    clones_inherit_tags: bool = True
    retention_403: bool = False
    restore_conflicts: bool = False
    s3_delete_crc32: bool = False
    forbidden_403: bool = False
    service_policies: bool = False
    lock_minutes: float = 20.0
    terminated_hours: float = 24.0
    principal_token_minutes: float = 20.0

    def assume(self, name: str, value: Any) -> Self:
        """The same with one switch set.

        Args:
            name: as on the command line, with hyphens.
            value: true, false, `on`, `off`, or for `...-minutes` and `...-hours` a number (or its text).

        Raises:
            AssumptionError: names the assumption and what it takes.
        """
        known = {field.name.replace("_", "-"): field.name for field in fields(self)}
        if name not in known:
            raise AssumptionError(f"{name}: no such assumption; there are {', '.join(known)}")
        read = _number if name.endswith(("-minutes", "-hours")) else _switch
        changes: dict[str, Any] = {known[name]: read(name, value)}
        return replace(self, **changes)

    def assume_all(self, values: Mapping[str, Any]) -> Self:
        """The same with several switches set."""
        result = self
        for name, value in values.items():
            result = result.assume(name, value)
        return result

    def assume_text(self, text: str) -> Self:
        """The same with `NAME=VALUE` of the command line applied."""
        name, equals, value = text.partition("=")
        if not equals:
            raise AssumptionError(f"{text}: expected NAME=VALUE")
        return self.assume(name, value)


def _switch(name: str, value: Any) -> bool:
    words = {"on": True, "off": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in words:
        return words[value]
    raise AssumptionError(f"{name}: {value!r} is neither on nor off")


def _number(name: str, value: Any) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else -1.0
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < float("inf"):
        raise AssumptionError(f"{name}: {value!r} is no number from 0")
    return number
