"""`hyperexport config`: the settings in effect, where each comes from, and whether they work."""

from __future__ import annotations

import click

from hypersdk.cli.context import open_context
from hypersdk.cli.options import connection_options, output_options
from hypersdk.config import Config


@click.group()
def command() -> None:
    """Show the effective configuration; check that it works."""


@command.command()
@connection_options("compartment_ocid", "namespace", "bucket")
@output_options
@click.pass_context
def show(ctx: click.Context) -> None:
    """Show every setting with its value and where that comes from.

    Secrets are masked. Nothing is sent anywhere.
    """
    with open_context(ctx) as context:
        rows = [{"key": line.key, "value": line.value, "source": line.source} for line in context.config.shown]
        rows.append({"key": "oci.object_storage_url", **_derived(context.config)})
        rows += _principal(context.config)
        shown = (
            rows if context.out.as_json or context.out.verbose else [row for row in rows if row["value"] is not None]
        )
        context.out.table("settings", shown, ("key", "value", "source"))


def _principal(config: Config) -> list[dict[str, str | None]]:
    """Who a token signs for, and the variables by which OCI tells a principal who it is."""
    from hypersdk.vendors.oci.check import local_facts
    from hypersdk.vendors.oci.credentials import PRINCIPALS, shown_variable

    settings = config.oci
    rows: list[dict[str, str | None]] = [
        {"key": f"oci.{name}", "value": value, "source": "the token itself"} for name, value in local_facts(settings)
    ]
    variables = sorted(settings.environment.items()) if settings.auth in PRINCIPALS else []
    return rows + [
        {"key": name, "value": shown_variable(name, value), "source": f"environment {name}"}
        for name, value in variables
    ]


def _derived(config: Config) -> dict[str, str | None]:
    """The host that a region stands for, which nobody writes and everybody looks for when a region is wrong."""
    from hypersdk.vendors.oci import regions

    if config.oci.connection.endpoint:
        return {"value": config.oci.connection.endpoint, "source": "derived from oci.endpoint"}
    if config.oci.region:
        return {
            "value": regions.object_storage_url(regions.expand(config.oci.region)),
            "source": "derived from oci.region",
        }
    return {"value": None, "source": ""}


@command.command()
@connection_options("compartment_ocid", "namespace", "bucket")
@output_options
@click.pass_context
def check(ctx: click.Context) -> None:
    """Sign in, make one signed call and say what works, or why it does not.

    A bucket and a compartment that the settings name are looked at too.
    """
    from hypersdk.vendors.oci.check import check_access, file_warnings, missing_policies

    with open_context(ctx) as context:
        session = context.wiring.session
        for warning in file_warnings(context.config.oci):
            context.out.note(f"warning: {warning}")
        namespace = check_access(session)
        settings, who, expires = context.config.oci, session.who, session.expires
        missing = list(missing_policies(session, namespace))
        for line in missing:
            context.out.note(f"warning: {line}")
        context.out.facts(
            "check",
            {
                "works": True,
                "auth": session.kind,
                "auth_source": settings.where("auth"),
                "profile": settings.profile,
                "tenancy": session.tenancy_id,
                "user": settings.user_ocid if session.kind == "api_key" else None,
                "principal": who.principal,
                "compartment": who.compartment_id,
                "rule": f"ALL {{{who.rule}}}" if who.rule else None,
                "expires": expires.isoformat(timespec="seconds") if expires else None,
                "fingerprint": session.key_fingerprint,
                "region": session.region or None,
                "endpoint": session.object_storage_url,
                "namespace": namespace,
                "missing": missing,
            },
        )
