"""The whole error tree.

Every error is a sentence that says what failed, where, why, and what to do; `code` is stable for scripts, `retryable`
is what `retry.py` decides by (never the text), `exit_code` is design section 3. All survive pickling.

    HypersdkError
    ├── UsageError                    bad argument                                              exit 2
    │   └── ConfigError               bad configuration: file, line, key                        exit 2
    ├── AuthError                     credentials refused or unusable                           exit 4
    │   ├── NotAuthenticated          401
    │   │   └── ClockSkewed           401 because the clocks are too far apart; passes in mid-run
    │   ├── CredentialsEnded          what signed until now signs no more: somebody must renew it
    │   └── PermissionDenied          403, or 404 where only permission can be missing
    ├── NotFoundError                 no such resource, or not allowed to see it (404)          exit 5
    ├── PreflightRefused              we refuse before anything is created                      exit 6
    │   ├── RunDriven                 another process drives this run already
    │   └── UnknownPlan               another version of hypersdk began this run
    ├── VerificationError             bytes are not what they must be                           exit 7
    ├── PassingError                  retryable: try again later                                exit 8
    │   ├── NetworkError              could not connect, connection cut, timed out
    │   │   └── EndpointUnreachable   could not connect at all: the network monitor's cue
    │   ├── ThrottledError            429
    │   ├── ServiceError              5xx except 501
    │   ├── BusyError                 409 ResourceLocked, ConcurrentObjectUpdate
    │   ├── ReplyRefused              a reply that does not satisfy its request's expectation
    │   └── StoreUnreachable          the run store cannot be reached, or somebody else has it locked
    ├── StateConflict                 409: wait for the resource's state, not an attempt        exit 8
    ├── PreconditionFailed            412: the resource is another one than we pinned           exit 1
    │   └── ObjectChanged             the object was replaced while we read it
    ├── AlreadyExists                 409 on create, 412 on If-None-Match                       exit 6
    ├── RequestRefused                any other 4xx: repeating it cannot help                   exit 1
    ├── OperationFailed               the cloud's own work ended badly                          exit 1
    ├── FileError                     local file system refused                                 exit 1
    │   ├── DiskFull                  ENOSPC, EDQUOT, EFBIG: finished parts are kept            exit 8
    │   └── DestinationExists         the final name is taken                                   exit 6
    ├── ToolMissing                   a program that we need is not installed                   exit 6
    ├── LeaseLost                     another process drives this run now                       exit 1
    └── Stopped                       asked to stop
        ├── Interrupted               Ctrl-C or SIGTERM: resumable                              exit 130
        └── Cancelled                 `runs cancel`: cleaned up                                 exit 1
"""

from __future__ import annotations

from typing import ClassVar


class HypersdkError(Exception):
    """Root of all errors that hypersdk raises on purpose.

    Args:
        message: one line: what failed, where, why.
        resource: the resource's name as a user knows it (an OCID, a URL, a path).
        hint: one line: what to do about it.
        request_id: OCI's `opc-request-id`, when a reply had one.
        retry_after: seconds that the service asked us to wait.
        service_code: the service's own error code ("NotAuthorizedOrNotFound"), when a reply had one.
        status: the HTTP status, when there was a reply.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        resource: str | None = None,
        hint: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        service_code: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.resource = resource
        self.hint = hint
        self.request_id = request_id
        self.retry_after = retry_after
        self.service_code = service_code
        self.status = status

    def __str__(self) -> str:
        parts = [self.message]
        if self.request_id:
            parts.append(f"(opc-request-id {self.request_id})")
        if self.hint:
            parts.append(f"- {self.hint}")
        return " ".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own reduce passes args only; keyword facts would be lost on the way through a store or a process.
        return (_rebuild, (type(self), self.message, dict(self.__dict__)))


def _rebuild(kind: type[HypersdkError], message: str, state: dict[str, object]) -> HypersdkError:
    error = kind.__new__(kind, message)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class UsageError(HypersdkError):
    """A bad argument."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """A bad configuration; the message names file, line and key."""

    code = "config"


class AuthError(HypersdkError):
    """Credentials were refused or cannot be used."""

    code = "auth"
    exit_code = 4


class NotAuthenticated(AuthError):
    """The service does not accept who we are (401)."""

    code = "not-authenticated"


class ClockSkewed(NotAuthenticated):
    """The service does not accept what was signed because our clock and its own are too far apart."""

    code = "clock-skewed"
    retryable = True


class CredentialsEnded(AuthError):
    """Credentials that were good have ended, or are no longer accepted; somebody outside must renew them."""

    code = "credentials-ended"


class PermissionDenied(AuthError):
    """The service knows us and does not let us (403, or a 404 that can only mean this)."""

    code = "permission-denied"


class NotFoundError(HypersdkError):
    """There is no such resource, or we may not see it; OCI answers 404 to both."""

    code = "not-found"
    exit_code = 5


class PreflightRefused(HypersdkError):
    """The plan cannot succeed as asked; nothing was created."""

    code = "preflight-refused"
    exit_code = 6


class RunDriven(PreflightRefused):
    """Another process drives this run already."""

    code = "run-driven"


class UnknownPlan(PreflightRefused):
    """A run was begun by a version of hypersdk whose plans this one does not know."""

    code = "unknown-plan"


class VerificationError(HypersdkError):
    """Bytes are not what they must be."""

    code = "verification-failed"
    exit_code = 7


class PassingError(HypersdkError):
    """A fault that passes: the same call may succeed later."""

    code = "passing-fault"
    retryable = True
    exit_code = 8


class NetworkError(PassingError):
    """No reply, or a reply that was cut."""

    code = "network"


class EndpointUnreachable(NetworkError):
    """No connection could be made at all."""

    code = "unreachable"


class ThrottledError(PassingError):
    """The service asks us to slow down (429)."""

    code = "throttled"


class ServiceError(PassingError):
    """The service failed (5xx except 501)."""

    code = "service"


class BusyError(PassingError):
    """Somebody else holds the resource for a moment (409 ResourceLocked, ConcurrentObjectUpdate)."""

    code = "busy"


class ReplyRefused(PassingError):
    """A reply arrived that does not satisfy what its request demands (status, range, length, etag, encoding)."""

    code = "reply-refused"


class StoreUnreachable(PassingError):
    """The run store cannot be reached, or another program has it locked; a run that goes on waits for it instead."""

    code = "store-unreachable"


class StateConflict(HypersdkError):
    """The resource is in a state that forbids this (409): wait for its state."""

    code = "state-conflict"
    exit_code = 8


class PreconditionFailed(HypersdkError):
    """The resource is no longer the one that was pinned by its etag (412)."""

    code = "precondition-failed"


class ObjectChanged(PreconditionFailed):
    """An object was replaced while it was being read."""

    code = "object-changed"


class AlreadyExists(HypersdkError):
    """The name is taken in the cloud."""

    code = "already-exists"
    exit_code = 6


class RequestRefused(HypersdkError):
    """The service refuses this request for good (other 4xx, 501)."""

    code = "request-refused"


class OperationFailed(HypersdkError):
    """The cloud's own long-running work ended badly."""

    code = "operation-failed"


class FileError(HypersdkError):
    """The local file system refused."""

    code = "file"


class DiskFull(FileError):
    """No room left (ENOSPC, EDQUOT, EFBIG); finished parts are kept."""

    code = "disk-full"
    exit_code = 8


class DestinationExists(FileError):
    """The final name is taken."""

    code = "destination-exists"
    exit_code = 6


class ToolMissing(HypersdkError):
    """A program that this step needs is not installed."""

    code = "tool-missing"
    exit_code = 6


class LeaseLost(HypersdkError):
    """Another process drives this run now; leave at once, without clean-up."""

    code = "lease-lost"


class Stopped(HypersdkError):
    """Somebody asked us to stop."""

    code = "stopped"
    exit_code = 130


class Interrupted(Stopped):
    """Ctrl-C or SIGTERM; the same command resumes."""

    code = "interrupted"


class Cancelled(Stopped):
    """The run was cancelled; what it made is cleaned up."""

    code = "cancelled"
    exit_code = 1
