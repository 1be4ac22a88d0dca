"""The route table: one row per operation. Docs' support table, fault names and the log derive from it."""

from hypersdk_emulator.blockstorage.routes import BLOCKSTORAGE
from hypersdk_emulator.compute import limits
from hypersdk_emulator.compute.metadata import METADATA
from hypersdk_emulator.compute.routes import COMPUTE
from hypersdk_emulator.control import CONTROL
from hypersdk_emulator.identity.routes import AUTH, IDENTITY, PARENTS, PROXYMUX
from hypersdk_emulator.network.routes import NETWORK
from hypersdk_emulator.objectstorage.routes import STORAGE
from hypersdk_emulator.routing import Route
from hypersdk_emulator.s3.routes import S3

LIMITS = (
    Route(
        "GetResourceAvailability",
        "limits",
        "GET",
        "/20190729/services/{serviceName}/limits/{limitName}/resourceAvailability",
        limits.get_resource_availability,
    ),
)

ROUTES = (*CONTROL, *COMPUTE, *BLOCKSTORAGE, *NETWORK, *IDENTITY, *AUTH, *LIMITS, *STORAGE, *S3)

EVERYWHERE = (*ROUTES, *METADATA, *PARENTS, *PROXYMUX)
"""All rows, with those of the metadata service and of the OKE stand-in, which listen elsewhere."""
