"""A write that may be repeated: `opc-retry-token` makes the second call answer with what the first one did."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from hypersdk_emulator.call import Call
from hypersdk_emulator.database import invalidated_retry_token
from hypersdk_emulator.errors import ServiceError


class Made(Protocol):
    """What a call made: anything with an id."""

    @property
    def id(self) -> str:
        """OCID."""


T = TypeVar("T", bound=Made)


async def created_once(call: Call, make: Callable[[], T], find: Callable[[str], T]) -> T:
    """Make or change a resource, or find what the same retry token has made or changed; one transaction.

    Args:
        call: of the operation; tokens are its caller's own.
        make: checks, makes or changes, and saves.
        find: the resource of an id, or OCI's 404.

    Raises:
        ServiceError: 400 for a token used with other parameters, 409 InvalidatedRetryToken if what it made is gone.
    """
    digest, token, db = await call.digest(), call.header("opc-retry-token"), call.cloud.db
    scope, now = f"{call.operation} {call.principal.user_id}", call.cloud.clock.timestamp()
    with db.transaction():
        known = db.recall(scope, token, digest, now)
        if known is None:
            made = make()
            db.remember(scope, token, digest, made.id, now)
            return made
        try:
            return find(known)
        except ServiceError:
            raise invalidated_retry_token() from None
