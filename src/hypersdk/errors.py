"""The whole error tree.

Every error is a sentence that says what failed, where, why, and what to do; `code` is stable for scripts, `retryable`
is what `retry.py` decides by (never the text), `exit_code` is design section 3. All survive pickling. Each class has
its own `causes`, `remedy` and `example`: docs/troubleshooting.md is made of them, and `hyperexport` tells the remedy
where an error has no hint of its own.

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
    │   ├── FileInUse                 another process is writing it
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

    Attributes:
        code: stable name for scripts.
        causes: what it usually comes from.
        remedy: what to do about it, for all errors of this kind.
        example: what such an error says, with its hint.
        retryable: whether the same call may succeed later.
        exit_code: of a command that ends with it.
        doubtful: an earlier try of the same call may have taken effect, so that this refusal proves nothing of it.

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
    causes: ClassVar[tuple[str, ...]] = ("a fault that has no kind of its own",)
    remedy: ClassVar[str] = "read the sentence; repeat with --debug and report it if it does not explain itself"
    example: ClassVar[str] = "something went wrong"
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1
    doubtful: bool = False

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
    causes: ClassVar[tuple[str, ...]] = (
        "an argument or option that does not exist, or a value that it cannot have",
        "two options that contradict each other",
        "a name that fits several instances",
    )
    remedy = "correct the command line; --help of the command says what it takes"
    example = (
        "no bucket for the exported object - --bucket-name, oci.bucket in hypersdk.yaml, or --to "
        "oci://namespace/bucket/prefix"
    )
    exit_code = 2


class ConfigError(UsageError):
    """A bad configuration; the message names file, line and key."""

    code = "config"
    causes: ClassVar[tuple[str, ...]] = (
        "a key in hypersdk.yaml that does not exist, or a value that it cannot have",
        "no credentials, or a file that a setting names and that is not there",
        "a certificate that no trusted authority has signed",
    )
    remedy = "correct the place that the message names; `hyperexport config show` tells where each value comes from"
    example = "hypersdk.yaml:2: unknown key 'transfer.paralel' - did you mean 'parallel'?"


class AuthError(HypersdkError):
    """Credentials were refused or cannot be used."""

    code = "auth"
    causes: ClassVar[tuple[str, ...]] = (
        "a key file that is damaged, no RSA key, or locked by another pass phrase",
        "a fingerprint that is not that of the key",
        "a proxy that wants a name and a password (407)",
    )
    remedy = "correct what the message names; `hyperexport config check` makes one signed call and says what is wrong"
    example = (
        "private_key_path: fingerprint 20:3b:... is not that of key.pem, which is 84:70:... - correct the one "
        "that is wrong"
    )
    exit_code = 4


class NotAuthenticated(AuthError):
    """The service does not accept who we are (401)."""

    code = "not-authenticated"
    causes: ClassVar[tuple[str, ...]] = (
        "the public key is not registered with this user, or a minute ago only",
        "user, tenancy or fingerprint of another account",
        "a session that was ended, or whose key is another one",
    )
    remedy = (
        "`hyperexport config check` names the key, the user and where each was read; a run that worked before is "
        "`credentials-ended`"
    )
    example = (
        "list instances: main: the service does not accept the credentials (401 NotAuthenticated) - is the public"
        " key with fingerprint 20:3b:... among the API keys of user ocid1.user...?"
    )


class ClockSkewed(NotAuthenticated):
    """The service does not accept what was signed because our clock and its own are too far apart."""

    code = "clock-skewed"
    causes: ClassVar[tuple[str, ...]] = (
        "this machine's clock is more than five minutes off",
        "a suspended machine that has not set its clock yet: in mid-run this is tried again",
    )
    remedy = "set the clock (`timedatectl set-ntp true`); the message has both times"
    example = (
        "list instances: main: the service does not accept the credentials (401 NotAuthenticated) - clock skew: "
        "this machine says 2026-11-25 14:20:01 UTC, Oracle says 2026-11-25 13:20:01 UTC, 60 minutes apart (5 are "
        "allowed); set this machine's clock"
    )
    retryable = True


class CredentialsEnded(AuthError):
    """Credentials that were good have ended, or are no longer accepted; somebody outside must renew them."""

    code = "credentials-ended"
    causes: ClassVar[tuple[str, ...]] = (
        "a session token that nobody renewed in time",
        "an API key that was removed while it was in use",
        "a principal whose instance, resource or cluster is no longer known",
    )
    remedy = (
        "do what the message says; a run that can notice it (a file changes, or the service accepts again) waits "
        "and goes on by itself, others resume with the same command"
    )
    example = (
        "GET oci://ns/exports/vm.qcow2: the service does not accept the credentials (401 NotAuthenticated) - log "
        "in with `oci session authenticate --profile-name X` (the session expired at 2026-11-25 14:02:11 UTC, too"
        " late for `oci session refresh --profile X`); the same command resumes"
    )


class PermissionDenied(AuthError):
    """The service knows us and does not let us (403, or a 404 that can only mean this)."""

    code = "permission-denied"
    causes: ClassVar[tuple[str, ...]] = (
        "no policy allows this call",
        "a policy was removed while a run was on its way",
        "the bucket is read-only, or Object Storage itself lacks a right",
    )
    remedy = (
        "ask an administrator for the sentences that the message names; what a run has made stays, and the same "
        "command resumes"
    )
    example = (
        "look at the bucket: oci://ns/exports: not allowed (403 NotAllowed) - ask for: Allow group Exporters to "
        "read buckets in compartment B"
    )


class NotFoundError(HypersdkError):
    """There is no such resource, or we may not see it; OCI answers 404 to both."""

    code = "not-found"
    causes: ClassVar[tuple[str, ...]] = (
        "a name that is mistyped, or in another compartment or region",
        "no right to see it: OCI answers the same to both",
        "it was deleted",
    )
    remedy = "check the name, `--region` and `-c`; `hyperexport config check` names missing permissions"
    example = (
        "get instance: ocid1.instance...: absent or not allowed (404 NotAuthorizedOrNotFound) - OCI answers the "
        "same to both: check the name, the region and your policies"
    )
    exit_code = 5


class PreflightRefused(HypersdkError):
    """The plan cannot succeed as asked; nothing was created."""

    code = "preflight-refused"
    causes: ClassVar[tuple[str, ...]] = (
        "a running instance without --allow-shutdown",
        "no room on the disk, no quota for another image",
        "a file or object that stands where the result shall go",
    )
    remedy = "do what the message says; nothing was created"
    example = "web-02 is running: OCI shuts it down while it makes the image - allow that with --allow-shutdown"
    exit_code = 6


class RunDriven(PreflightRefused):
    """Another process drives this run already."""

    code = "run-driven"
    causes: ClassVar[tuple[str, ...]] = ("the same export is under way in another process, perhaps on another machine",)
    remedy = "wait for it, watch it with `hyperexport runs attach RUN`, or end it with `hyperexport runs cancel RUN`"
    example = "run 8abe17dd3dbc is driven by pid 4711 on host a"


class UnknownPlan(PreflightRefused):
    """A run was begun by a version of hypersdk whose plans this one does not know."""

    code = "unknown-plan"
    causes: ClassVar[tuple[str, ...]] = (
        "the run was begun by another version of hyperexport, whose plan this one does not read",
    )
    remedy = "go on with the version that the message names, or `hyperexport runs cancel RUN` and begin anew"
    example = "run 8abe17dd3dbc was planned by a later version"


class VerificationError(HypersdkError):
    """Bytes are not what they must be."""

    code = "verification-failed"
    causes: ClassVar[tuple[str, ...]] = (
        "bytes that were changed on the way or on the disk, twice",
        "a disk that is no disk of its format, or holds only zeros",
    )
    remedy = "export again; if it fails again, look at the instance's boot volume and at this machine's memory and disk"
    example = "vm.qcow2: its CRC32C is not that of the object"
    exit_code = 7


class PassingError(HypersdkError):
    """A fault that passes: the same call may succeed later."""

    code = "passing-fault"
    causes: ClassVar[tuple[str, ...]] = ("a service or a line that fails for a while",)
    remedy = "try again later: the same command goes on where it stopped"
    example = "the service fails for the moment"
    retryable = True
    exit_code = 8


class NetworkError(PassingError):
    """No reply, or a reply that was cut."""

    code = "network"
    causes: ClassVar[tuple[str, ...]] = (
        "a connection that was cut or went silent",
        "a proxy, firewall or load balancer that drops long connections",
    )
    remedy = "nothing while it is tried again; if it stays, look at the proxy and at network.read_timeout"
    example = "GET oci://ns/exports/vm.qcow2: the connection was cut in mid-body"


class EndpointUnreachable(NetworkError):
    """No connection could be made at all."""

    code = "unreachable"
    causes: ClassVar[tuple[str, ...]] = (
        "no network, no name service, or a proxy that does not answer",
        "a region or an endpoint that does not exist",
    )
    remedy = (
        "nothing while the network is down: everything waits and goes on by itself; else check `--region`, "
        "`--endpoint` and `--proxy`"
    )
    example = (
        "list instances: could not resolve host iaas.eu-frankfrut-1.oraclecloud.com - did you mean 'eu-frankfurt-1'?"
    )


class ThrottledError(PassingError):
    """The service asks us to slow down (429)."""

    code = "throttled"
    causes: ClassVar[tuple[str, ...]] = ("too many calls for the tenancy or the bucket, ours or others'",)
    remedy = (
        "nothing while it is tried again; if it stays, `--parallel` lower, or later. A time to come back is in "
        "the message"
    )
    example = "list objects: oci://ns/exports: the service asks to slow down (429 TooManyRequests)"


class ServiceError(PassingError):
    """The service failed (5xx except 501)."""

    code = "service"
    causes: ClassVar[tuple[str, ...]] = ("the service fails (5xx)",)
    remedy = "try again later; if it stays, give Oracle the opc-request-id of the message"
    example = "get image: ocid1.image...: the service failed (500 InternalServerError) (opc-request-id A/B/C)"


class BusyError(PassingError):
    """Somebody else holds the resource for a moment (409 ResourceLocked, ConcurrentObjectUpdate)."""

    code = "busy"
    causes: ClassVar[tuple[str, ...]] = ("somebody else changes the same object, bucket or resource at the moment",)
    remedy = "nothing: it is tried again"
    example = "put object: oci://ns/exports/a: busy for a moment (409 ConcurrentObjectUpdate)"


class ReplyRefused(PassingError):
    """A reply arrived that does not satisfy what its request demands (status, range, length, etag, encoding)."""

    code = "reply-refused"
    causes: ClassVar[tuple[str, ...]] = (
        "a captive portal, proxy or cache that answers in the service's place",
        "a reply with other bytes, another range or another object than was asked for",
    )
    remedy = "check the proxy and the endpoint; nothing of such a reply is ever used"
    example = "GET oci://ns/exports/vm.qcow2: the server ignored the range and sent the whole object"


class StoreUnreachable(PassingError):
    """The run store cannot be reached, or another program has it locked; a run that goes on waits for it instead."""

    code = "store-unreachable"
    causes: ClassVar[tuple[str, ...]] = ("the database of the run store does not answer",)
    remedy = "nothing while it is tried again; else start the database, or check HYPEREXPORT_STATE"
    example = "the run store does not answer"


class StateConflict(HypersdkError):
    """The resource is in a state that forbids this (409): wait for its state."""

    code = "state-conflict"
    causes: ClassVar[tuple[str, ...]] = (
        "another operation on the same instance or image is under way",
        "an instance whose image was made less than 20 minutes ago",
    )
    remedy = "nothing while it is waited for; if it stays, look at the resource's work requests in the console"
    example = "create image: web-01: its state does not allow this now (409 Conflict) - wait until it has settled"
    exit_code = 8


class PreconditionFailed(HypersdkError):
    """The resource is no longer the one that was pinned by its etag (412)."""

    code = "precondition-failed"
    causes: ClassVar[tuple[str, ...]] = ("it was changed or replaced since it was looked at",)
    remedy = "look at what stands there now, and decide anew"
    example = "delete object: oci://ns/exports/a: changed since it was looked at (412 NoEtagMatch)"


class ObjectChanged(PreconditionFailed):
    """An object was replaced while it was being read."""

    code = "object-changed"
    causes: ClassVar[tuple[str, ...]] = ("somebody wrote the object while it was being read",)
    remedy = "once more, when nobody writes; two versions are never mixed"
    example = "oci://ns/exports/vm.qcow2 was replaced while it was read"


class AlreadyExists(HypersdkError):
    """The name is taken in the cloud."""

    code = "already-exists"
    causes: ClassVar[tuple[str, ...]] = ("an object, bucket or image of this name is there",)
    remedy = "choose another name, or --overwrite where the command has it"
    example = "create bucket: exports: the name is taken (409 BucketAlreadyExists)"
    exit_code = 6


class RequestRefused(HypersdkError):
    """The service refuses this request for good (other 4xx, 501)."""

    code = "request-refused"
    causes: ClassVar[tuple[str, ...]] = (
        "a request that the service does not take as it is",
        "a limit or quota of the tenancy",
        "an object in the archive",
    )
    remedy = "read the service's sentence in the message: repeating cannot help"
    example = (
        "create image: web-01: a limit of the tenancy is reached (400 LimitExceeded) - delete what is not needed "
        "or ask for more"
    )


class OperationFailed(HypersdkError):
    """The cloud's own long-running work ended badly."""

    code = "operation-failed"
    causes: ClassVar[tuple[str, ...]] = ("OCI's own work (an image, an export) ended badly, for reasons of its own",)
    remedy = "export again; the service's sentences are in the message, more of them in the console's work requests"
    example = "the cloud's work ocid1.workrequest... ended FAILED: the export could not be written"


class FileError(HypersdkError):
    """The local file system refused."""

    code = "file"
    causes: ClassVar[tuple[str, ...]] = ("no permission, a read-only or failing disk, a path that is a directory",)
    remedy = "correct what the operating system says; finished parts are kept"
    example = "vm.qcow2: Permission denied"


class DiskFull(FileError):
    """No room left (ENOSPC, EDQUOT, EFBIG); finished parts are kept."""

    code = "disk-full"
    causes: ClassVar[tuple[str, ...]] = ("no room on the disk, a quota, or a file system that takes no larger file",)
    remedy = "make room and repeat the command: finished parts are kept and not fetched again"
    example = ".hx-0123456789ab.partial: No space left on device"
    exit_code = 8


class FileInUse(FileError):
    """Another process is writing this very file."""

    code = "file-in-use"
    causes: ClassVar[tuple[str, ...]] = ("two commands write to the same place at once",)
    remedy = "wait for the other one, or stop it; two processes never write one file"
    example = "another process is writing .hx-0123456789ab.partial"


class DestinationExists(FileError):
    """The final name is taken."""

    code = "destination-exists"
    causes: ClassVar[tuple[str, ...]] = ("a file of this name is there, and is not what this export made",)
    remedy = "--overwrite, another -o, or move it away"
    example = "vm.qcow2 exists - --overwrite replaces it"
    exit_code = 6


class ToolMissing(HypersdkError):
    """A program that this step needs is not installed."""

    code = "tool-missing"
    causes: ClassVar[tuple[str, ...]] = ("a program of the operating system is not installed",)
    remedy = "install what the message names"
    example = "qemu-img is not installed - apt install qemu-utils"
    exit_code = 6


class LeaseLost(HypersdkError):
    """Another process drives this run now; leave at once, without clean-up."""

    code = "lease-lost"
    causes: ClassVar[tuple[str, ...]] = (
        "this process was suspended or cut off for so long that another one has taken the run over",
    )
    remedy = "nothing: the other process goes on; `hyperexport runs show RUN` says which"
    example = "run 8abe17dd3dbc is driven by another process now"


class Stopped(HypersdkError):
    """Somebody asked us to stop."""

    code = "stopped"
    causes: ClassVar[tuple[str, ...]] = ("somebody asked for it",)
    remedy = "the same command resumes"
    example = "stopped"
    exit_code = 130


class Interrupted(Stopped):
    """Ctrl-C or SIGTERM; the same command resumes."""

    code = "interrupted"
    causes: ClassVar[tuple[str, ...]] = ("Ctrl-C, SIGTERM or a closed terminal (SIGHUP)",)
    remedy = "the same command resumes; `hyperexport runs cancel RUN` cleans up instead"
    example = "interrupted - the same command resumes"


class Cancelled(Stopped):
    """The run was cancelled; what it made is cleaned up."""

    code = "cancelled"
    causes: ClassVar[tuple[str, ...]] = ("`hyperexport runs cancel`",)
    remedy = "nothing: what the run made is cleaned up, or named"
    example = "cancelled"
    exit_code = 1
