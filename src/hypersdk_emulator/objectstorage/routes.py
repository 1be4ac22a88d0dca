"""The rows of Object Storage in the route table, those reached through pre-authenticated requests included."""

from dataclasses import replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.objectstorage import (
    ageing,
    bucketrules,
    buckets,
    copies,
    encryption,
    multipart,
    objectlists,
    objects,
    pars,
    replication,
    tiers,
    versionlists,
    workrequests,
)
from hypersdk_emulator.routing import Route

_SERVICE = "objectstorage"
_BUCKET = "/n/{namespace}/b/{bucket}"
_PROMPT_REPLICA = "replicas are there at once; only within this region"
_NO_TIERING = "auto-tiering is kept and shown, but moves nothing"
_ONE_REGION = "the copy is there when the call is answered; only within this region"
_PROMPT = "rules act at midnight UTC at once, not within a day"
_NO_CIPHER = "nothing is encrypted: keys are kept, shown and asked for; any key of Key Management is taken"
_PAR = "/p/{token}/n/{namespace}/b/{bucket}"


def _row(operation: str, method: str, pattern: str, handler: Any, auth: str = "signed") -> Route:
    return Route(operation, _SERVICE, method, pattern, handler, auth)


def _body(operation: str, pattern: str, handler: Any) -> Route:
    """A PUT whose body is not part of the signature."""
    return Route(operation, _SERVICE, "PUT", pattern, handler, body_signed=False)


def _bucket(operation: str, method: str, rest: str, handler: Any, auth: str = "signed", *, differs: str = "") -> Route:
    return replace(_row(operation, method, _BUCKET + rest, handler, auth), differs=differs)


def _par(operation: str, method: str, rest: str, handler: Any) -> Route:
    return _row(operation, method, _PAR + rest, handler, "par")


_START_THROUGH_PAR = Route(
    "CreateMultipartUpload",
    _SERVICE,
    "PUT",
    _PAR + "/o/{object*}",
    multipart.create_par_upload,
    "par",
    header="opc-multipart",
)

_ROWS = (
    _row("GetNamespace", "GET", "/n", buckets.get_namespace),
    _row("GetNamespaceMetadata", "GET", "/n/{namespace}", buckets.get_namespace_metadata),
    _row("UpdateNamespaceMetadata", "PUT", "/n/{namespace}", buckets.update_namespace_metadata),
    _row("ListBuckets", "GET", "/n/{namespace}/b", buckets.list_buckets),
    _row("CreateBucket", "POST", "/n/{namespace}/b", buckets.create_bucket),
    _bucket("GetBucket", "GET", "", buckets.get_bucket),
    _bucket("HeadBucket", "HEAD", "", buckets.get_bucket),
    _bucket("UpdateBucket", "POST", "", buckets.update_bucket, differs=_NO_TIERING),
    _bucket("DeleteBucket", "DELETE", "", buckets.delete_bucket),
    _bucket("ListObjects", "GET", "/o", objectlists.list_objects, "public"),
    _bucket("ListObjectVersions", "GET", "/objectversions", versionlists.list_object_versions),
    _bucket("GetObject", "GET", "/o/{object*}", objects.get_object, "public"),
    _bucket("HeadObject", "HEAD", "/o/{object*}", objects.head_object, "public"),
    _body("PutObject", _BUCKET + "/o/{object*}", objects.put_object),
    _bucket("DeleteObject", "DELETE", "/o/{object*}", objects.delete_object),
    _bucket("RenameObject", "POST", "/actions/renameObject", copies.rename_object),
    _bucket("CopyObject", "POST", "/actions/copyObject", copies.copy_object, differs=_ONE_REGION),
    _bucket("BatchDeleteObjects", "POST", "/actions/batchDeleteObjects", copies.batch_delete),
    _bucket("RestoreObjects", "POST", "/actions/restoreObjects", tiers.restore_objects),
    _bucket("UpdateObjectStorageTier", "POST", "/actions/updateObjectStorageTier", tiers.update_tier),
    _bucket("ReencryptBucket", "POST", "/actions/reencrypt", encryption.reencrypt_bucket, differs=_NO_CIPHER),
    _bucket(
        "ReencryptObject",
        "POST",
        "/actions/reencrypt/{object*}",
        encryption.reencrypt_object,
        differs=_NO_CIPHER,
    ),
    _bucket("MakeBucketWritable", "POST", "/actions/makeBucketWritable", replication.make_writable),
    _bucket("CreateReplicationPolicy", "POST", "/replicationPolicies", replication.create, differs=_PROMPT_REPLICA),
    _bucket("ListReplicationPolicies", "GET", "/replicationPolicies", replication.list_policies),
    _bucket("GetReplicationPolicy", "GET", "/replicationPolicies/{policy}", replication.get),
    _bucket("DeleteReplicationPolicy", "DELETE", "/replicationPolicies/{policy}", replication.delete),
    _bucket("ListReplicationSources", "GET", "/replicationSources", replication.list_sources),
    _bucket("CreateMultipartUpload", "POST", "/u", multipart.create_upload),
    _bucket("ListMultipartUploads", "GET", "/u", multipart.list_uploads),
    _body("UploadPart", _BUCKET + "/u/{object*}", multipart.upload_part),
    _bucket("CommitMultipartUpload", "POST", "/u/{object*}", multipart.commit_upload),
    _bucket("AbortMultipartUpload", "DELETE", "/u/{object*}", multipart.abort_upload),
    _bucket("ListMultipartUploadParts", "GET", "/u/{object*}", multipart.list_parts),
    _bucket("CreatePreauthenticatedRequest", "POST", "/p", pars.create),
    _bucket("ListPreauthenticatedRequests", "GET", "/p", pars.list_pars),
    _bucket("GetPreauthenticatedRequest", "GET", "/p/{par*}", pars.get),
    _bucket("DeletePreauthenticatedRequest", "DELETE", "/p/{par*}", pars.delete),
    _bucket("PutObjectLifecyclePolicy", "PUT", "/l", bucketrules.put_policy, differs=_PROMPT),
    _bucket("GetObjectLifecyclePolicy", "GET", "/l", bucketrules.get_policy),
    _bucket("DeleteObjectLifecyclePolicy", "DELETE", "/l", bucketrules.delete_policy),
    _bucket("CreateRetentionRule", "POST", "/retentionRules", bucketrules.create_rule),
    _bucket("ListRetentionRules", "GET", "/retentionRules", bucketrules.list_rules),
    _bucket("GetRetentionRule", "GET", "/retentionRules/{rule}", bucketrules.get_rule),
    _bucket("UpdateRetentionRule", "PUT", "/retentionRules/{rule}", bucketrules.update_rule),
    _bucket("DeleteRetentionRule", "DELETE", "/retentionRules/{rule}", bucketrules.delete_rule),
    _START_THROUGH_PAR,
    _par("ListObjects", "GET", "/o", objectlists.list_objects),
    _par("GetObject", "GET", "/o/{object*}", objects.get_object),
    _par("HeadObject", "HEAD", "/o/{object*}", objects.head_object),
    _par("PutObject", "PUT", "/o/{object*}", objects.put_object),
    _par("UploadPart", "PUT", "/u/{object*}/id/{upload}/{number}", multipart.upload_part),
    _par("CommitMultipartUpload", "POST", "/u/{object*}/id/{upload}", multipart.commit_upload),
    _par("AbortMultipartUpload", "DELETE", "/u/{object*}/id/{upload}", multipart.abort_upload),
    _row("ListStorageWorkRequests", "GET", "/workRequests", workrequests.list_all),
    _row("GetStorageWorkRequest", "GET", "/workRequests/{work}", workrequests.get),
    _row("ListStorageWorkRequestErrors", "GET", "/workRequests/{work}/errors", workrequests.list_errors),
    _row("ListStorageWorkRequestLogs", "GET", "/workRequests/{work}/logs", workrequests.list_logs),
    _row("CancelStorageWorkRequest", "DELETE", "/workRequests/{work}", workrequests.cancel),
)


def _aged(route: Route) -> Route:
    """The row with a handler that first lets the days act that have passed for the bucket."""
    if "{bucket}" not in route.pattern:
        return route

    async def handle(call: Call) -> web.StreamResponse:
        ageing.catch_up(call.cloud, call.params["bucket"])
        return await route.handler(call)

    return replace(route, handler=handle)


STORAGE = tuple(_aged(route) for route in _ROWS)
