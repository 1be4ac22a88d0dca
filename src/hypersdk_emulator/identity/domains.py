"""Availability domains and their fault domains."""

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.identity.users import is_compartment

FAULT_DOMAINS = ("FAULT-DOMAIN-1", "FAULT-DOMAIN-2", "FAULT-DOMAIN-3")
"""Every availability domain has three (documentation, 'Regions and Availability Domains')."""


def availability_domains(cloud: Cloud) -> list[str]:
    """The ones that the seed's instances name, or three of our own."""
    settings = cloud.settings
    return settings.availability_domains or [f"Emul:{settings.region.upper()}-AD-{n}" for n in (1, 2, 3)]


def check_availability_domain(cloud: Cloud, domain: str) -> None:
    """Refuse a name that is none here.

    Raises:
        ServiceError: 400.
    """
    if domain not in availability_domains(cloud):
        raise invalid_parameter(f"Invalid availabilityDomain {domain}")


async def list_availability_domains(call: Call) -> web.StreamResponse:
    """ListAvailabilityDomains."""
    compartment = _compartment(call)
    return call.reply(
        [
            {"name": name, "id": f"ocid1.availabilitydomain.oc1..{name}", "compartmentId": compartment}
            for name in availability_domains(call.cloud)
        ]
    )


async def list_fault_domains(call: Call) -> web.StreamResponse:
    """ListFaultDomains: of one availability domain."""
    compartment, domain = _compartment(call), call.required("availabilityDomain")
    check_availability_domain(call.cloud, domain)
    return call.reply(
        [
            {
                "availabilityDomain": domain,
                "compartmentId": compartment,
                "id": f"ocid1.faultdomain.oc1..{domain}.{name}",
                "name": name,
            }
            for name in FAULT_DOMAINS
        ]
    )


def _compartment(call: Call) -> str:
    compartment = call.required("compartmentId")
    if not is_compartment(call.cloud, compartment):
        raise not_authorized_or_not_found()
    return compartment
