"""What a service refuses: status, code and message, as OCI's error body carries them."""

import errno
import sqlite3
from collections.abc import Mapping

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})


class ServiceError(Exception):
    """A refusal that the client sees as `{"code": ..., "message": ...}`.

    Args:
        status: HTTP status.
        code: OCI's error code, for example `BucketNotFound`.
        message: One sentence for people.
        headers: Further reply headers, for example `retry-after`.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def not_authenticated(service: str) -> ServiceError:
    """The 401 of a service: Object Storage words it shorter than the others and names its realm."""
    text = "The required information to complete authentication was not provided"
    if service == "objectstorage":
        realm = {"www-authenticate": 'Casper realm="AUTH_casper"'}
        return ServiceError(401, "NotAuthenticated", f"{text}.", realm)
    return ServiceError(401, "NotAuthenticated", f"{text} or was incorrect.")


def not_authorized_or_not_found(what: str = "Authorization failed or requested resource not found.") -> ServiceError:
    """The 404 that does not say whether the thing is absent or forbidden."""
    return ServiceError(404, "NotAuthorizedOrNotFound", what)


def invalid_parameter(message: str) -> ServiceError:
    """400 for a value that the service cannot take."""
    return ServiceError(400, "InvalidParameter", message)


def machine_refuses(error: Exception) -> ServiceError | None:
    """What a client is told when the emulator's machine has run out of something; None for any other error."""
    number = error.errno if isinstance(error, OSError) else None
    if number in _DISK_FULL or isinstance(error, sqlite3.OperationalError):
        return ServiceError(507, "InsufficientStorage", f"The disk of the emulator's state directory refuses: {error}")
    if number in _NO_DESCRIPTOR:
        return ServiceError(503, "ServiceUnavailable", f"The emulator has too many files or connections open: {error}")
    return None


def missing_parameter(name: str) -> ServiceError:
    """400 for a value that had to be given."""
    return ServiceError(400, "MissingParameter", f"Missing parameter: {name}")
