"""OKE workload identity: a stand-in for the proxymux of a cluster, and the service accounts of its pods.

As `oci.auth.signers.oke_workload_identity_resource_principal_signer` calls it: https with the cluster's own CA, the
pod's service-account token as bearer, `{"podKey": ...}`; the reply is JSON in base64, its token begins with `ST$`.
"""

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.fields import optional_text, text
from hypersdk_emulator.identity import federation, signers, tokens, users
from hypersdk_emulator.signatures import SignatureRefused

PORT = 12250
"""The port is written into the SDKs, so each emulator listens on a loopback address of its own (`--oke-host`)."""
CLUSTER_TYPES = ("enhanced", "basic")
MAX_TOKEN_SECONDS = 24 * 3600
_ACCOUNT = "service-account"


async def create_session_token(call: Call) -> web.StreamResponse:
    """CreateWorkloadSessionToken: a token for the workload of a service account, bound to the pod's key."""
    scheme, _, bearer = (call.header("authorization") or "").partition(" ")
    try:
        claims, _ = tokens.read(call.cloud, bearer)
    except SignatureRefused as refused:
        raise signers.refusal(call, str(refused)) from None
    if scheme.lower() != "bearer" or claims["ptype"] != _ACCOUNT:
        raise signers.refusal(call, "not a service-account token")
    if claims["cluster"]["type"] == "basic":
        raise ServiceError(403, "NotAuthorized", "Workload identity needs an enhanced cluster")
    body = await call.json()
    key = tokens.session_key(text(body, "podKey", federation.MAX_PEM), "podKey")
    token = tokens.issue(call.cloud, _claims(call.cloud, claims), key, federation.token_seconds(call))
    reply = base64.b64encode(json.dumps({"token": f"ST${token}"}).encode())
    return web.Response(body=reply, content_type="application/json")


def _claims(cloud: Cloud, account: dict[str, Any]) -> dict[str, Any]:
    cluster, place = account["cluster"], account["kubernetes.io"]
    facts = {
        "request.principal.type": "workload",
        "request.principal.cluster_id": cluster["id"],
        "request.principal.namespace": place["namespace"],
        "request.principal.service_account": place["serviceaccount"]["name"],
        "request.principal.compartment.id": cluster["compartment"],
    }
    return {
        "sub": cluster["id"],
        "ptype": "workload",
        "ttype": "res",
        "res_type": "workload",
        "res_compartment": cluster["compartment"],
        "res_tenant": cloud.settings.tenancy_id,
        "facts": facts,
    }


async def issue_account_token(call: Call) -> web.StreamResponse:
    """A service-account token as Kubernetes projects it into a pod, and the pod's environment."""
    body, cloud = await call.json(), call.cloud
    if cloud.oke is None:
        raise invalid_parameter("there is no cluster: start the emulator with --oke-host")
    kind = body.get("clusterType", CLUSTER_TYPES[0])
    if kind not in CLUSTER_TYPES:
        raise invalid_parameter(f"clusterType must be one of {', '.join(CLUSTER_TYPES)}")
    seconds = body.get("ttlSeconds", 3600)
    if not isinstance(seconds, int | float) or not 1 <= seconds <= MAX_TOKEN_SECONDS:
        raise invalid_parameter(f"ttlSeconds must be a number from 1 to {MAX_TOKEN_SECONDS}")
    compartment = optional_text(body, "compartmentId") or cloud.settings.tenancy_id
    if not users.is_compartment(cloud, compartment):
        raise invalid_parameter(f"compartmentId: there is no compartment {compartment}")
    namespace, account = text(body, "namespace"), text(body, "serviceAccount")
    claims = {
        "sub": f"system:serviceaccount:{namespace}:{account}",
        "ptype": _ACCOUNT,
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account}},
        "cluster": {"id": text(body, "clusterId"), "type": kind, "compartment": compartment},
    }
    token = tokens.issue(cloud, claims, cloud.tokens.key, float(seconds))
    path = _write(cloud.options.state / "service-accounts" / f"{_file_name(namespace)}.{_file_name(account)}", token)
    environment = {
        "KUBERNETES_SERVICE_HOST": cloud.oke.host,
        "OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH": str(cloud.oke.ca),
        "OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH": str(path),
        "OCI_RESOURCE_PRINCIPAL_REGION": cloud.settings.region,
    }
    return call.reply({"token": token, "path": str(path), "environment": environment})


def _file_name(value: str) -> str:
    return binascii.hexlify(value.encode()).decode()[:100]


def _write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
    fresh.replace(path)
    return path
