"""What a service refuses: status, code and message, as OCI's error body carries them."""

from collections.abc import Mapping


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


def missing_parameter(name: str) -> ServiceError:
    """400 for a value that had to be given."""
    return ServiceError(400, "MissingParameter", f"Missing parameter: {name}")
