"""The OCI SDK's own DownloadManager and UploadManager as a program; runs in the venv of the clients.

Usage: python transfer_sdk.py get|put ENDPOINT CA PROFILE NAMESPACE BUCKET OBJECT FILE [PART_BYTES THREADS]
"""

from __future__ import annotations

import sys

import oci
from oci.object_storage import UploadManager
from oci.object_storage.transfer.internal.download.DownloadConfiguration import DownloadConfiguration
from oci.object_storage.transfer.internal.download.DownloadManager import DownloadManager


def main() -> None:
    """Move one object."""
    verb, endpoint, authority, profile, namespace, bucket, name, path, *cut = sys.argv[1:]
    client = oci.object_storage.ObjectStorageClient(
        oci.config.from_file(profile), service_endpoint=endpoint, timeout=(10, 300)
    )
    client.base_client.session.verify = authority
    if verb == "get":
        how = {"part_size_in_bytes": int(cut[0]), "num_download_threads": int(cut[1])} if cut else {}
        manager = DownloadManager(DownloadConfiguration(**how), client)
        manager.get_object_to_path(namespace, bucket, name, path)
        return
    how = {"parallel_process_count": int(cut[1])} if cut else {}
    part = {"part_size": int(cut[0])} if cut else {}
    UploadManager(client, **how).upload_file(namespace, bucket, name, path, opc_checksum_algorithm="CRC32C", **part)


if __name__ == "__main__":
    main()
