"""Pre-authenticated requests."""

from hypersdk_emulator.call import Call
from hypersdk_emulator.errors import not_authorized_or_not_found
from hypersdk_emulator.signatures import Principal


def authorize(call: Call) -> Principal:
    """The principal of a PAR."""
    raise not_authorized_or_not_found()
