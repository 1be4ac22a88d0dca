"""Applies the rights of a seed to a cloud."""

from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.identity import groups, rules
from hypersdk_emulator.seeds.node import SeedError
from hypersdk_emulator.seeds.rights import Group, Rights

SEEDED = "seeded"


def apply(cloud: Cloud, rights: Rights) -> None:
    """Add groups, dynamic groups and policies; users and compartments are there already.

    Raises:
        SeedError: a user, a group or a compartment is not there, or a name is taken.
    """
    with cloud.db.transaction():
        for number, group in enumerate(rights.groups):
            with_users = [_user(cloud, each, f"groups[{number}].users[{n}]") for n, each in enumerate(group.users)]
            _group(cloud, group, with_users, f"groups[{number}]")
        for number, dynamic in enumerate(rights.dynamic_groups):
            try:
                groups.add_dynamic_group(cloud, dynamic.id, dynamic.name, SEEDED, dynamic.rule)
            except ServiceError as error:
                raise SeedError(f"dynamicGroups[{number}]: {error.message}") from None
        for number, policy in enumerate(rights.policies):
            where = policy.compartment_id or cloud.settings.tenancy_id
            try:
                rules.add_policy(cloud, policy.id, policy.name, where, about=SEEDED, texts=policy.statements)
            except ServiceError as error:
                raise SeedError(f"policies[{number}].{error.message}") from None
    if rights.rule and not cloud.settings.policies_rule:
        cloud.settings.policies_rule = True
        cloud.save_settings()


def _group(cloud: Cloud, group: Group, users: list[str], place: str) -> None:
    try:
        groups.add_group(cloud, group.id, group.name, SEEDED, users)
    except ServiceError as error:
        raise SeedError(f"{place}: {error.message}") from None


def _user(cloud: Cloud, named: str, place: str) -> str:
    row = cloud.db.one("SELECT id FROM users WHERE id = ? OR name = ?", named, named)
    if row is None:
        raise SeedError(f"{place}: there is no user {named}")
    return str(row["id"])
