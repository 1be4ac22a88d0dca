"""Instances, resources and workloads that sign: Oracle's own signers against the emulator's auth services."""

import contextlib
import hashlib
import json
import os
import random
import time
import urllib.request
from email.utils import formatdate
from urllib.error import HTTPError

import oci
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from emulator import REGION, TENANCY, compartment_id, instance_id, private_key, public_pem, sign
from oci.auth.signers import InstancePrincipalsSecurityTokenSigner, get_resource_principals_signer
from oci.auth.signers.resource_principals_signer import get_oke_workload_identity_resource_principal_signer

FUNCTION = "ocid1.fnfunc.oc1.iad.aaaafunction"
NOTEBOOK = "ocid1.datasciencenotebooksession.oc1.iad.aaaanotebook"
CLUSTER = "ocid1.cluster.oc1.iad.aaaacluster"
HOUR = 3600
BEARER = {"authorization": "Bearer Oracle"}


@contextlib.contextmanager
def environment(**values):
    """Environment variables for the time of a block."""
    before = dict(os.environ)
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def instance_signer(emulator, base=None, **options):
    with environment(OCI_METADATA_BASE_URL=base or emulator.metadata):
        return InstancePrincipalsSecurityTokenSigner(federation_endpoint=f"{emulator.endpoint}/v1/x509", **options)


def storage(emulator, signer):
    options = {"service_endpoint": emulator.endpoint, "retry_strategy": oci.retry.NoneRetryStrategy()}
    return oci.object_storage.ObjectStorageClient({}, signer=signer, **options)


def metadata(emulator, path, base=None, headers=BEARER):
    """One answer of the metadata service: its status and its body."""
    request = urllib.request.Request(f"{base or emulator.metadata}/{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read()
    except HTTPError as refused:
        with refused:
            return refused.status, refused.read()


def operations(emulator):
    return [entry["operation"] for entry in emulator.log()]


def issue(emulator, **fields):
    body = {"resourceId": FUNCTION, "resourceType": "fnfunc", "compartmentId": compartment_id("main"), **fields}
    return emulator.control("POST", "resource-principal", body)["environment"]


# ---------------------------------------------------------------- instances


def test_instance_principal_signs_with_a_federated_token(emulator):
    """The SDK's own signer gets region, certificate and token, and its requests are accepted."""
    signer = instance_signer(emulator)
    assert (signer.region, signer.tenancy_id) == (REGION, TENANCY)
    assert storage(emulator, signer).get_namespace().data == emulator.namespace
    assert operations(emulator).count("GetSecurityTokenX509") == 1


def test_expired_token_is_refused_and_refreshed(emulator):
    """Once the virtual clock has passed its life the token gets a 401, after which the SDK fetches a new one."""
    client = storage(emulator, instance_signer(emulator))
    client.get_namespace()
    emulator.control("POST", "clock", {"advanceSeconds": HOUR})
    assert client.get_namespace().data == emulator.namespace
    assert [entry["status"] for entry in emulator.log() if entry["operation"] == "GetNamespace"] == [200, 401, 200]
    assert operations(emulator).count("GetSecurityTokenX509") == 2


def test_metadata_shows_the_instance_to_those_who_ask_properly(start_emulator):
    """Version 2 needs its header and no proxy between; each instance has a path, the first one also the short path."""
    emulator = start_emulator(instances=("web-01", "web-02"))
    short = emulator.metadata.removesuffix("/opc/v2")
    assert json.loads(metadata(emulator, "instance/")[1])["id"] == instance_id("web-01")
    other = f"{short}/{instance_id('web-02')}/opc/v2"
    assert metadata(emulator, "instance/displayName", other) == (200, b"web-02")
    assert metadata(emulator, "instance/region") == (200, b"iad")
    assert json.loads(metadata(emulator, "instance/regionInfo")[1])["regionIdentifier"] == REGION
    assert metadata(emulator, "instance/nothing")[0] == 404
    assert metadata(emulator, "identity/nothing.pem")[0] == 404
    assert metadata(emulator, "instance/", f"{short}/ocid1.instance.oc1.iad.none/opc/v2")[0] == 404
    assert metadata(emulator, "instance/", headers={})[0] == 401
    assert metadata(emulator, "instance/", headers={**BEARER, "x-forwarded-for": "10.0.0.1"})[0] == 401


def test_certificate_is_rotated_by_the_virtual_clock(emulator):
    """The certificate is the same until half of its life is over, then a new one of the same authority."""

    def certificate():
        return x509.load_pem_x509_certificate(metadata(emulator, "identity/cert.pem")[1])

    first = certificate()
    assert certificate() == first
    emulator.control("POST", "clock", {"advanceSeconds": HOUR})
    second = certificate()
    assert second.serial_number != first.serial_number
    issuer = x509.load_pem_x509_certificate(metadata(emulator, "identity/intermediate.pem")[1])
    second.verify_directly_issued_by(issuer)


def test_federation_refuses_an_expired_certificate(emulator):
    """A certificate whose life is over by the virtual clock gets no token any more."""
    signer = instance_signer(emulator, federation_client_retry_strategy=oci.retry.NoneRetryStrategy())
    retriever = signer.federation_client.leaf_certificate_retriever
    retriever.refresh = lambda: None
    emulator.control("POST", "clock", {"advanceSeconds": 3 * HOUR})
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        signer.refresh_security_token()
    assert refused.value.status == 401


def test_instance_principals_outlive_a_restart_and_a_reset(emulator):
    """The address of the metadata service, certificates and tokens are good after a restart, new ones after a reset."""
    emulator.control("POST", "clock", {"advanceSeconds": HOUR})
    signer, address = instance_signer(emulator), emulator.metadata
    emulator.stop()
    emulator.start()
    assert emulator.metadata == address
    assert storage(emulator, signer).get_namespace().data == emulator.namespace
    emulator.control("POST", "reset")
    emulator.control("PUT", "seed", emulator.seed.value)
    assert storage(emulator, instance_signer(emulator)).get_namespace().data == emulator.namespace


@pytest.mark.parametrize("change", ["signature", "key id", "chain", "certificate", "public key", "skew"])
def test_federation_refuses_what_does_not_fit(emulator, change):
    """A certificate of nobody's, another's fingerprint, a missing chain, a small key: no token, and no 500."""
    reply = federate(emulator, change)
    assert reply.status == (400 if change in ("certificate", "public key") else 401), reply
    assert federate(emulator, "").status == 200


def federate(emulator, change):
    """POST /v1/x509 as the SDK sends it, but for one change."""
    names = ("cert", "key", "intermediate")
    pems = {name: metadata(emulator, f"identity/{name}.pem")[1].decode() for name in names}
    certificate = x509.load_pem_x509_certificate(pems["cert"].encode())
    key = serialization.load_pem_private_key(pems["key"].encode(), None)
    session = rsa.generate_private_key(public_exponent=65537, key_size=1024 if change == "public key" else 2048)
    digits = hashlib.sha1(certificate.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
    digits = "00" * 20 if change == "key id" else digits
    fingerprint = ":".join(digits[n : n + 2] for n in range(0, 40, 2))
    body = {
        "certificate": "AAAA" if change == "certificate" else bare(pems["cert"]),
        "publicKey": bare(public_pem(session)),
        "intermediateCertificates": [] if change == "chain" else [bare(pems["intermediate"])],
    }
    data = json.dumps(body).encode()
    early = {"date": formatdate(time.time() - HOUR, usegmt=True)} if change == "skew" else {}
    signer = private_key() if change == "signature" else key
    plain = {"host": emulator.host, **early}
    headers = sign(signer, f"{TENANCY}/fed-x509/{fingerprint}", "POST", "/v1/x509", plain, body=data)
    return emulator.send("POST", "/v1/x509", data, headers)


def bare(pem):
    return "".join(line for line in pem.splitlines() if not line.startswith("-----"))


def test_tuple_export_is_refused_to_an_instance(emulator):
    """An instance principal must export through a PAR: the bucket 'does not exist' for it (oci-cli issue 384)."""
    signer = instance_signer(emulator)
    compute = oci.core.ComputeClient({}, signer=signer, service_endpoint=emulator.endpoint)
    details = oci.core.models.CreateImageDetails(
        compartment_id=compartment_id("main"), instance_id=instance_id("web-01"), display_name="copy"
    )
    image = compute.create_image(details).data.id
    oci.wait_until(compute, compute.get_image(image), "lifecycle_state", "AVAILABLE", max_interval_seconds=0.1)
    to = oci.core.models.ExportImageViaObjectStorageTupleDetails(
        namespace_name=emulator.namespace, bucket_name="exports", object_name="disk.qcow2", export_format="QCOW2"
    )
    with pytest.raises(oci.exceptions.ServiceError, match="bucket to export image does not exist"):
        compute.export_image(image, to)


def test_faults_hit_metadata_and_federation(emulator):
    """Metadata and token calls are operations like others: a fault can hit them, and the SDK gets over it."""
    emulator.fault("GetInstanceIdentity", "error", status=503, code="ServiceUnavailable")
    emulator.fault("GetSecurityTokenX509", "error", status=500, code="InternalServerError")
    emulator.fault("GetInstanceMetadata", "error", status=429, code="TooManyRequests")
    assert storage(emulator, instance_signer(emulator)).get_namespace().data == emulator.namespace


# ---------------------------------------------------------------- resources


@pytest.mark.parametrize("files", [False, True])
def test_resource_principal_2_2_signs(emulator, files):
    """Token and key of a resource, inline or as files, make the SDK's signer, which knows tenancy and compartment."""
    values = issue(emulator, files=files)
    assert values["OCI_RESOURCE_PRINCIPAL_VERSION"] == "2.2"
    with environment(**values):
        signer = get_resource_principals_signer()
    assert (signer.tenancy_id, signer.compartment_id) == (TENANCY, compartment_id("main"))
    assert storage(emulator, signer).get_namespace().data == emulator.namespace


def test_resource_principal_files_are_read_again(emulator):
    """When the token has expired, the SDK's retry reads the files that were written anew meanwhile."""
    with environment(**issue(emulator, files=True, ttlSeconds=600)):
        client = storage(emulator, get_resource_principals_signer())
    emulator.control("POST", "clock", {"advanceSeconds": 600})
    issue(emulator, files=True)
    assert client.get_namespace().data == emulator.namespace
    assert [entry["status"] for entry in emulator.log() if entry["operation"] == "GetNamespace"] == [401, 200]


@pytest.mark.parametrize("depth", [1, 2])
def test_resource_principal_3_0_acts_for_its_parent(emulator, depth):
    """A nested resource signs as its outermost parent, by way of the parents' token endpoints."""
    parents = [
        {"resourceId": f"{NOTEBOOK}{n}", "resourceType": "notebook", "compartmentId": compartment_id("main")}
        for n in range(depth)
    ]
    with environment(**issue(emulator, parents=parents)):
        signer = get_resource_principals_signer()
    assert storage(emulator, signer).get_namespace().data == emulator.namespace
    assert signer.security_token.get_jwt()["res_id"] == f"{NOTEBOOK}{depth - 1}"
    assert operations(emulator).count("CreateResourcePrincipalSessionToken") >= depth


def test_resource_token_of_a_stranger_is_refused(emulator):
    """A resource gets no token of a resource that is not its parent."""
    issue(emulator, resourceId=NOTEBOOK, resourceType="notebook")
    path = f"/20180711/resourcePrincipalToken/{NOTEBOOK}"
    assert emulator.call("GET", path).status == 404


# ---------------------------------------------------------------- workloads


def oke_host():
    """A loopback address that no parallel test has taken: the port is written into the SDK."""
    return f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(2, 254)}"


def workload(emulator, **fields):
    body = {"clusterId": CLUSTER, "namespace": "batch", "serviceAccount": "exporter", **fields}
    return emulator.control("POST", "service-account-token", body)


def workload_signer(pod):
    with environment(**pod["environment"]):
        return get_oke_workload_identity_resource_principal_signer(
            service_account_token_path=pod["path"], retry_strategy=oci.retry.NoneRetryStrategy()
        )


def test_workload_identity_signs(start_emulator):
    """A pod's service account gets a token over https with the cluster's CA, and signs with it."""
    emulator = start_emulator(arguments=("--oke-host", oke_host()))
    signer = workload_signer(workload(emulator))
    assert storage(emulator, signer).get_namespace().data == emulator.namespace
    emulator.control("POST", "clock", {"advanceSeconds": HOUR - 60})
    assert storage(emulator, signer).get_namespace().data == emulator.namespace
    assert operations(emulator).count("CreateWorkloadSessionToken") == 2


def test_workload_identity_is_refused(start_emulator):
    """A basic cluster answers 403, a token of another kind or an expired one 401."""
    emulator = start_emulator(arguments=("--oke-host", oke_host()))
    with pytest.raises(oci.exceptions.ServiceError, match="cluster type is enhanced"):
        workload_signer(workload(emulator, clusterType="basic"))
    pod = workload(emulator)
    emulator.control("POST", "clock", {"advanceSeconds": HOUR})
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        workload_signer(pod)
    assert refused.value.status == 401


def test_service_account_needs_a_cluster(emulator):
    """Without `--oke-host` the control call says so."""
    body = {"clusterId": CLUSTER, "namespace": "batch", "serviceAccount": "exporter"}
    headers = {"authorization": f"Bearer {emulator.token}"}
    reply = emulator.send("POST", "/_emulator/service-account-token", json.dumps(body).encode(), headers)
    assert reply.status == 400
    assert "--oke-host" in reply.json["message"]
