"""What each operation needs: permissions, and where. Pure data.

From the tables "Permissions Required for Each API Operation" of Oracle's policy reference (core services, Object
Storage, IAM). Where those say nothing (ExportImage, shape compatibility), Oracle's sample `ImageAdmins` decides.
`A|B@field` means: A or B, in the compartment of the resource that the request's `field` names, or of one of the words
of `whereabouts.WORDS`. A field that the request does not have needs nothing.
"""

from hypersdk_emulator.identity.policies import Need, read_needs

_WORK = "INSTANCE_IMAGE_CREATE|INSTANCE_CREATE@path INSTANCE_CREATE_IMAGE|INSTANCE_CREATE@path"
_WRITE = "OBJECT_CREATE@bucket OBJECT_OVERWRITE@bucket"

_REPLICATE = (
    "OBJECT_READ@bucket OBJECT_CREATE@bucket OBJECT_OVERWRITE@bucket OBJECT_INSPECT@bucket OBJECT_DELETE@bucket "
    "BUCKET_READ@bucket BUCKET_UPDATE@bucket"
)

_OBJECT_STORAGE = {
    "GetNamespace": "OBJECTSTORAGE_NAMESPACE_READ@compartmentId",
    "UpdateNamespaceMetadata": "OBJECTSTORAGE_NAMESPACE_UPDATE@tenancy",
    "GetNamespaceMetadata": "OBJECTSTORAGE_NAMESPACE_READ@tenancy",
    "ListBuckets": "BUCKET_INSPECT@compartmentId",
    "CreateBucket": "BUCKET_CREATE@compartmentId",
    "GetBucket": "BUCKET_READ@bucket",
    "HeadBucket": "BUCKET_INSPECT@bucket",
    "UpdateBucket": "BUCKET_UPDATE@bucket BUCKET_UPDATE@compartmentId",
    "DeleteBucket": "BUCKET_DELETE@bucket",
    "ReencryptBucket": "BUCKET_UPDATE@bucket",
    "ListObjects": "OBJECT_INSPECT@bucket",
    "ListObjectVersions": "OBJECT_INSPECT@bucket",
    "GetObject": "OBJECT_READ@bucket",
    "HeadObject": "OBJECT_INSPECT|OBJECT_READ@bucket",
    "PutObject": "OBJECT_CREATE@new-object OBJECT_OVERWRITE@old-object",
    "DeleteObject": "OBJECT_DELETE@bucket",
    "DeleteObjectVersion": "OBJECT_VERSION_DELETE@bucket",
    "RenameObject": _WRITE,
    "CopyObject": "OBJECT_READ@bucket OBJECT_INSPECT@bucket OBJECT_CREATE@destinationBucket "
    "OBJECT_OVERWRITE@destinationBucket OBJECT_INSPECT@destinationBucket",
    "BatchDeleteObjects": "OBJECT_DELETE@bucket",
    "RestoreObjects": "OBJECT_RESTORE@bucket",
    "UpdateObjectStorageTier": "OBJECT_UPDATE_TIER@bucket",
    "ReencryptObject": "OBJECT_READ@bucket OBJECT_OVERWRITE@bucket",
    "CreateMultipartUpload": _WRITE,
    "UploadPart": _WRITE,
    "CommitMultipartUpload": _WRITE,
    "ListMultipartUploads": "BUCKET_READ@bucket",
    "ListMultipartUploadParts": "OBJECT_INSPECT@bucket",
    "AbortMultipartUpload": "OBJECT_DELETE@bucket",
    "CreatePreauthenticatedRequest": "PAR_MANAGE@bucket",
    "GetPreauthenticatedRequest": "PAR_MANAGE|BUCKET_READ@bucket",
    "ListPreauthenticatedRequests": "PAR_MANAGE|BUCKET_READ@bucket",
    "DeletePreauthenticatedRequest": "PAR_MANAGE@bucket",
    "PutObjectLifecyclePolicy": "BUCKET_UPDATE@bucket OBJECT_CREATE@bucket OBJECT_DELETE@bucket",
    "GetObjectLifecyclePolicy": "BUCKET_READ@bucket",
    "DeleteObjectLifecyclePolicy": "BUCKET_UPDATE@bucket",
    "CreateRetentionRule": "BUCKET_UPDATE@bucket RETENTION_RULE_MANAGE@bucket",
    "UpdateRetentionRule": "BUCKET_UPDATE@bucket RETENTION_RULE_MANAGE@bucket",
    "DeleteRetentionRule": "BUCKET_UPDATE@bucket RETENTION_RULE_MANAGE@bucket",
    "ListRetentionRules": "BUCKET_READ@bucket",
    "GetRetentionRule": "BUCKET_READ@bucket",
    "CreateReplicationPolicy": f"{_REPLICATE} OBJECT_RESTORE@bucket",
    "DeleteReplicationPolicy": f"{_REPLICATE} OBJECT_RESTORE@bucket",
    "MakeBucketWritable": _REPLICATE,
    "GetReplicationPolicy": "BUCKET_READ@bucket",
    "ListReplicationPolicies": "BUCKET_READ@bucket",
    "ListReplicationSources": "BUCKET_READ@bucket",
    "ListStorageWorkRequests": "OBJECT_INSPECT@compartmentId",
    "GetStorageWorkRequest": "OBJECT_READ@path",
    "ListStorageWorkRequestErrors": "OBJECT_READ@path",
    "ListStorageWorkRequestLogs": "OBJECT_READ@path",
    "CancelStorageWorkRequest": "OBJECT_DELETE@path",
}

_COMPUTE = {
    "ListInstances": "INSTANCE_READ@compartmentId",
    "GetInstance": "INSTANCE_READ@path",
    "LaunchInstance": "INSTANCE_CREATE@compartmentId VNIC_CREATE@compartmentId VNIC_ATTACH@compartmentId "
    "SUBNET_ATTACH@createVnicDetails.subnetId SUBNET_ATTACH@subnetId INSTANCE_IMAGE_READ@sourceDetails.imageId "
    "INSTANCE_IMAGE_READ@imageId VOLUME_INSPECT@sourceDetails.bootVolumeId VOLUME_WRITE@sourceDetails.bootVolumeId",
    "UpdateInstance": "INSTANCE_UPDATE@path",
    "InstanceAction": "INSTANCE_POWER_ACTIONS@path",
    "ChangeInstanceCompartment": "INSTANCE_MOVE@path INSTANCE_MOVE@compartmentId",
    "TerminateInstance": "INSTANCE_DELETE@path VNIC_DELETE@path SUBNET_DETACH@path",
    "ListShapes": "INSTANCE_INSPECT@compartmentId",
    "ListInstanceDevices": "INSTANCE_READ@path",
    "ListImages": "INSTANCE_IMAGE_INSPECT@compartmentId",
    "GetImage": "INSTANCE_IMAGE_INSPECT@path",
    "CreateImage": "INSTANCE_IMAGE_CREATE@compartmentId INSTANCE_CREATE_IMAGE@instanceId",
    "UpdateImage": "INSTANCE_IMAGE_UPDATE@path",
    "DeleteImage": "INSTANCE_IMAGE_DELETE@path",
    "ChangeImageCompartment": "INSTANCE_IMAGE_MOVE@path INSTANCE_IMAGE_MOVE@compartmentId",
    "ExportImage": "INSTANCE_IMAGE_CREATE@path",
    "ListImageShapeCompatibilityEntries": "INSTANCE_IMAGE_INSPECT@path",
    "GetImageShapeCompatibilityEntry": "INSTANCE_IMAGE_INSPECT@path",
    "AddImageShapeCompatibilityEntry": "INSTANCE_IMAGE_UPDATE@path",
    "RemoveImageShapeCompatibilityEntry": "INSTANCE_IMAGE_UPDATE@path",
    "ListComputeGlobalImageCapabilitySchemas": "COMPUTE_GLOBAL_IMAGE_CAPABILITY_SCHEMA_INSPECT@compartmentId",
    "ListComputeGlobalImageCapabilitySchemaVersions": "COMPUTE_GLOBAL_IMAGE_CAPABILITY_SCHEMA_INSPECT@tenancy",
    "GetComputeGlobalImageCapabilitySchema": "COMPUTE_GLOBAL_IMAGE_CAPABILITY_SCHEMA_READ@tenancy",
    "GetComputeGlobalImageCapabilitySchemaVersion": "COMPUTE_GLOBAL_IMAGE_CAPABILITY_SCHEMA_READ@tenancy",
    "ListComputeImageCapabilitySchemas": "COMPUTE_IMAGE_CAPABILITY_SCHEMA_INSPECT@compartmentId",
    "CreateComputeImageCapabilitySchema": "COMPUTE_IMAGE_CAPABILITY_SCHEMA_CREATE@compartmentId",
    "GetComputeImageCapabilitySchema": "COMPUTE_IMAGE_CAPABILITY_SCHEMA_READ@path",
    "UpdateComputeImageCapabilitySchema": "COMPUTE_IMAGE_CAPABILITY_SCHEMA_UPDATE@path",
    "ChangeComputeImageCapabilitySchemaCompartment": "COMPUTE_IMAGE_CAPABILITY_SCHEMA_MOVE@compartmentId "
    "COMPUTE_IMAGE_CAPABILITY_SCHEMA_MOVE@path",
    "DeleteComputeImageCapabilitySchema": "COMPUTE_IMAGE_CAPABILITY_SCHEMA_DELETE@path",
    "ListConsoleHistories": "CONSOLE_HISTORY_READ@compartmentId INSTANCE_INSPECT@compartmentId",
    "GetConsoleHistory": "CONSOLE_HISTORY_READ@path INSTANCE_INSPECT@path",
    "UpdateConsoleHistory": "CONSOLE_HISTORY_CREATE@path",
    "GetConsoleHistoryContent": "CONSOLE_HISTORY_READ@path INSTANCE_READ@path INSTANCE_IMAGE_READ@path",
    "CaptureConsoleHistory": "CONSOLE_HISTORY_CREATE@instanceId INSTANCE_READ@instanceId "
    "INSTANCE_IMAGE_READ@instanceId",
    "DeleteConsoleHistory": "CONSOLE_HISTORY_DELETE@path",
    "ListWorkRequests": "WORKREQUEST_INSPECT|INSTANCE_IMAGE_CREATE@compartmentId",
    "GetWorkRequest": _WORK,
    "ListWorkRequestErrors": _WORK,
    "ListWorkRequestLogs": _WORK,
    "GetResourceAvailability": "RESOURCE_AVAILABILITY_INSPECT@compartmentId",
}

_ATTACHMENTS = "VOLUME_ATTACHMENT_INSPECT@compartmentId VOLUME_INSPECT@compartmentId INSTANCE_INSPECT@compartmentId"

_VOLUMES = {
    "ListVolumes": "VOLUME_INSPECT@compartmentId",
    "GetVolume": "VOLUME_INSPECT@path",
    "CreateVolume": "VOLUME_CREATE@compartmentId VOLUME_BACKUP_READ@volumeBackupId "
    "VOLUME_INSPECT|VOLUME_BACKUP_READ@sourceDetails.id",
    "UpdateVolume": "VOLUME_UPDATE@path",
    "DeleteVolume": "VOLUME_DELETE@path",
    "ChangeVolumeCompartment": "VOLUME_MOVE@path VOLUME_MOVE@compartmentId",
    "ListBootVolumes": "VOLUME_INSPECT@compartmentId",
    "GetBootVolume": "VOLUME_INSPECT@path",
    "CreateBootVolume": "VOLUME_CREATE@compartmentId VOLUME_INSPECT|BOOT_VOLUME_BACKUP_READ@sourceDetails.id",
    "UpdateBootVolume": "VOLUME_UPDATE@path",
    "DeleteBootVolume": "VOLUME_DELETE@path",
    "ChangeBootVolumeCompartment": "VOLUME_MOVE@path VOLUME_MOVE@compartmentId",
    "ListVolumeAttachments": _ATTACHMENTS,
    "GetVolumeAttachment": "VOLUME_ATTACHMENT_INSPECT@path INSTANCE_INSPECT@path",
    "AttachVolume": "VOLUME_ATTACHMENT_CREATE@instanceId INSTANCE_ATTACH_VOLUME@instanceId VOLUME_WRITE@volumeId",
    "UpdateVolumeAttachment": "VOLUME_ATTACHMENT_UPDATE@path",
    "DetachVolume": "VOLUME_ATTACHMENT_DELETE@path VOLUME_WRITE@path INSTANCE_DETACH_VOLUME@path",
    "ListBootVolumeAttachments": _ATTACHMENTS,
    "GetBootVolumeAttachment": "VOLUME_ATTACHMENT_INSPECT@path INSTANCE_INSPECT@path",
    "AttachBootVolume": "VOLUME_ATTACHMENT_CREATE@instanceId INSTANCE_ATTACH_VOLUME@instanceId "
    "VOLUME_WRITE@bootVolumeId",
    "DetachBootVolume": "VOLUME_ATTACHMENT_DELETE@path VOLUME_WRITE@path INSTANCE_DETACH_VOLUME@path",
    "ListVolumeBackups": "VOLUME_BACKUP_INSPECT@compartmentId VOLUME_INSPECT@compartmentId",
    "GetVolumeBackup": "VOLUME_BACKUP_INSPECT@path VOLUME_INSPECT@path",
    "CreateVolumeBackup": "VOLUME_BACKUP_CREATE@volumeId VOLUME_WRITE@volumeId",
    "CopyVolumeBackup": "VOLUME_BACKUP_COPY@path VOLUME_BACKUP_CREATE@path",
    "UpdateVolumeBackup": "VOLUME_BACKUP_UPDATE@path VOLUME_INSPECT@path",
    "DeleteVolumeBackup": "VOLUME_BACKUP_DELETE@path VOLUME_INSPECT@path",
    "ChangeVolumeBackupCompartment": "VOLUME_BACKUP_MOVE@path VOLUME_BACKUP_MOVE@compartmentId",
    "ListBootVolumeBackups": "BOOT_VOLUME_BACKUP_INSPECT@compartmentId VOLUME_INSPECT@compartmentId",
    "GetBootVolumeBackup": "BOOT_VOLUME_BACKUP_INSPECT@path VOLUME_INSPECT@path",
    "CreateBootVolumeBackup": "BOOT_VOLUME_BACKUP_CREATE@bootVolumeId VOLUME_WRITE@bootVolumeId",
    "CopyBootVolumeBackup": "BOOT_VOLUME_BACKUP_COPY@path BOOT_VOLUME_BACKUP_CREATE@path",
    "UpdateBootVolumeBackup": "BOOT_VOLUME_BACKUP_UPDATE@path VOLUME_INSPECT@path",
    "DeleteBootVolumeBackup": "BOOT_VOLUME_BACKUP_DELETE@path VOLUME_INSPECT@path",
    "ChangeBootVolumeBackupCompartment": "BOOT_VOLUME_BACKUP_MOVE@path BOOT_VOLUME_BACKUP_MOVE@compartmentId",
    "ListVolumeGroups": "VOLUME_GROUP_INSPECT@compartmentId",
    "GetVolumeGroup": "VOLUME_GROUP_INSPECT@path",
    "CreateVolumeGroup": "VOLUME_GROUP_CREATE@compartmentId "
    "VOLUME_GROUP_INSPECT@sourceDetails.volumeGroupId VOLUME_CREATE@sourceDetails.volumeGroupId "
    "VOLUME_WRITE@sourceDetails.volumeGroupId VOLUME_GROUP_BACKUP_INSPECT@sourceDetails.volumeGroupBackupId "
    "VOLUME_CREATE@sourceDetails.volumeGroupBackupId VOLUME_WRITE@sourceDetails.volumeGroupBackupId",
    "UpdateVolumeGroup": "VOLUME_GROUP_UPDATE@path VOLUME_INSPECT@path",
    "DeleteVolumeGroup": "VOLUME_GROUP_DELETE@path",
    "ChangeVolumeGroupCompartment": "VOLUME_GROUP_MOVE@path VOLUME_GROUP_MOVE@compartmentId "
    "VOLUME_MOVE@path VOLUME_MOVE@compartmentId",
    "ListVolumeGroupBackups": "VOLUME_GROUP_BACKUP_INSPECT@compartmentId",
    "GetVolumeGroupBackup": "VOLUME_GROUP_BACKUP_INSPECT@path",
    "CreateVolumeGroupBackup": "VOLUME_GROUP_BACKUP_CREATE@volumeGroupId VOLUME_GROUP_INSPECT@volumeGroupId "
    "VOLUME_WRITE@volumeGroupId VOLUME_BACKUP_CREATE|BOOT_VOLUME_BACKUP_CREATE@volumeGroupId",
    "UpdateVolumeGroupBackup": "VOLUME_GROUP_BACKUP_UPDATE@path",
    "DeleteVolumeGroupBackup": "VOLUME_GROUP_BACKUP_DELETE@path VOLUME_BACKUP_DELETE|BOOT_VOLUME_BACKUP_DELETE@path",
    "ChangeVolumeGroupBackupCompartment": "VOLUME_GROUP_BACKUP_MOVE@path VOLUME_GROUP_BACKUP_MOVE@compartmentId",
}

_IN_A_VCN = {
    "RouteTable": "ROUTE_TABLE",
    "SecurityList": "SECURITY_LIST",
    "InternetGateway": "INTERNET_GATEWAY",
    "NatGateway": "NAT_GATEWAY",
    "ServiceGateway": "SERVICE_GATEWAY",
    "NetworkSecurityGroup": "NETWORK_SECURITY_GROUP",
    "Subnet": "SUBNET",
}


def _in_a_vcn() -> dict[str, str]:
    """The five calls of each kind of thing that a VCN holds."""
    found: dict[str, str] = {}
    for noun, prefix in _IN_A_VCN.items():
        found |= {
            f"List{noun}s": f"{prefix}_READ@compartmentId",
            f"Get{noun}": f"{prefix}_READ@path",
            f"Create{noun}": f"{prefix}_CREATE@compartmentId VCN_ATTACH@vcnId",
            f"Update{noun}": f"{prefix}_UPDATE@path",
            f"Delete{noun}": f"{prefix}_DELETE@path VCN_DETACH@path",
        }
    return found


_NETWORK = {
    **_in_a_vcn(),
    "ListVcns": "VCN_READ@compartmentId",
    "GetVcn": "VCN_READ@path",
    "CreateVcn": "VCN_CREATE@compartmentId",
    "UpdateVcn": "VCN_UPDATE@path",
    "DeleteVcn": "VCN_DELETE@path",
    "ListDhcpOptions": "DHCP_READ@compartmentId",
    "GetDhcpOptions": "DHCP_READ@path",
    "AddNetworkSecurityGroupSecurityRules": "NETWORK_SECURITY_GROUP_UPDATE_SECURITY_RULES@path",
    "RemoveNetworkSecurityGroupSecurityRules": "NETWORK_SECURITY_GROUP_UPDATE_SECURITY_RULES@path",
    "ListNetworkSecurityGroupSecurityRules": "NETWORK_SECURITY_GROUP_LIST_SECURITY_RULES@path",
    "ListNetworkSecurityGroupVnics": "NETWORK_SECURITY_GROUP_LIST_MEMBERS@path",
    "ListServices": "",
    "GetService": "",
    "GetVnic": "VNIC_READ@path",
    "UpdateVnic": "VNIC_UPDATE@path",
    "ListVnicAttachments": "VNIC_ATTACHMENT_READ@compartmentId INSTANCE_INSPECT@compartmentId",
    "GetVnicAttachment": "VNIC_ATTACHMENT_READ@path",
}

_IDENTITY = {
    "ListRegions": "TENANCY_INSPECT@tenancy",
    "ListRegionSubscriptions": "TENANCY_INSPECT@tenancy",
    "GetTenancy": "TENANCY_INSPECT@tenancy",
    "ListAvailabilityDomains": "COMPARTMENT_INSPECT@compartmentId",
    "ListFaultDomains": "COMPARTMENT_INSPECT@compartmentId",
    "ListCompartments": "COMPARTMENT_INSPECT@compartmentId",
    "GetCompartment": "COMPARTMENT_INSPECT@path",
    "CreateCompartment": "COMPARTMENT_CREATE@compartmentId",
    "UpdateCompartment": "COMPARTMENT_UPDATE@path",
    "DeleteCompartment": "COMPARTMENT_DELETE@path",
    "ListUsers": "USER_INSPECT@tenancy",
    "GetUser": "USER_INSPECT@tenancy",
    "CreateUser": "USER_CREATE@tenancy",
    "UpdateUser": "USER_UPDATE@tenancy",
    "DeleteUser": "USER_DELETE@tenancy",
    "ListApiKeys": "USER_READ@tenancy",
    "UploadApiKey": "USER_UPDATE@tenancy USER_APIKEY_ADD@tenancy",
    "DeleteApiKey": "USER_UPDATE@tenancy USER_APIKEY_REMOVE@tenancy",
    "ListCustomerSecretKeys": "USER_READ@tenancy",
    "CreateCustomerSecretKey": "USER_UPDATE@tenancy USER_SECRETKEY_ADD@tenancy",
    "UpdateCustomerSecretKey": "USER_UPDATE@tenancy USER_SECRETKEY_UPDATE@tenancy",
    "DeleteCustomerSecretKey": "USER_UPDATE@tenancy USER_SECRETKEY_REMOVE@tenancy",
    "ListGroups": "GROUP_INSPECT@tenancy",
    "GetGroup": "GROUP_INSPECT@tenancy",
    "CreateGroup": "GROUP_CREATE@tenancy",
    "UpdateGroup": "GROUP_UPDATE@tenancy",
    "DeleteGroup": "GROUP_DELETE@tenancy",
    "ListUserGroupMemberships": "GROUP_INSPECT@tenancy USER_INSPECT@tenancy",
    "GetUserGroupMembership": "GROUP_INSPECT@tenancy USER_INSPECT@tenancy",
    "AddUserToGroup": "GROUP_UPDATE@tenancy USER_UPDATE@tenancy",
    "RemoveUserFromGroup": "GROUP_UPDATE@tenancy USER_UPDATE@tenancy",
    "ListDynamicGroups": "DYNAMIC_GROUP_INSPECT@tenancy",
    "GetDynamicGroup": "DYNAMIC_GROUP_INSPECT@tenancy",
    "CreateDynamicGroup": "DYNAMIC_GROUP_CREATE@tenancy",
    "UpdateDynamicGroup": "DYNAMIC_GROUP_UPDATE@tenancy",
    "DeleteDynamicGroup": "DYNAMIC_GROUP_DELETE@tenancy",
    "ListPolicies": "POLICY_READ@compartmentId",
    "GetPolicy": "POLICY_READ@path",
    "CreatePolicy": "POLICY_CREATE@compartmentId",
    "UpdatePolicy": "POLICY_UPDATE@path",
    "DeletePolicy": "POLICY_DELETE@path",
}

# The S3 API's calls need what the native ones need; its buckets are made in the compartment that the namespace says.
_S3 = {
    "S3ListBuckets": "BUCKET_INSPECT@s3",
    "S3CreateBucket": "BUCKET_CREATE@s3",
    "S3DeleteBucket": _OBJECT_STORAGE["DeleteBucket"],
    "S3HeadBucket": _OBJECT_STORAGE["HeadBucket"],
    "S3GetBucketLocation": _OBJECT_STORAGE["HeadBucket"],
    "S3GetBucketVersioning": _OBJECT_STORAGE["GetBucket"],
    "S3PutBucketVersioning": _OBJECT_STORAGE["UpdateBucket"],
    "S3GetBucketTagging": _OBJECT_STORAGE["GetBucket"],
    "S3PutBucketTagging": _OBJECT_STORAGE["UpdateBucket"],
    "S3DeleteBucketTagging": _OBJECT_STORAGE["UpdateBucket"],
    "S3ListObjects": _OBJECT_STORAGE["ListObjects"],
    "S3ListObjectsV2": _OBJECT_STORAGE["ListObjects"],
    "S3ListObjectVersions": _OBJECT_STORAGE["ListObjectVersions"],
    "S3GetObject": _OBJECT_STORAGE["GetObject"],
    "S3HeadObject": _OBJECT_STORAGE["HeadObject"],
    "S3PutObject": _OBJECT_STORAGE["PutObject"],
    "S3CopyObject": f"{_WRITE} OBJECT_READ@copy-source",
    "S3DeleteObject": _OBJECT_STORAGE["DeleteObject"],
    "S3DeleteObjects": _OBJECT_STORAGE["BatchDeleteObjects"],
    "S3RestoreObject": _OBJECT_STORAGE["RestoreObjects"],
    "S3CreateMultipartUpload": _WRITE,
    "S3UploadPart": _WRITE,
    "S3UploadPartCopy": f"{_WRITE} OBJECT_READ@copy-source",
    "S3CompleteMultipartUpload": _WRITE,
    "S3AbortMultipartUpload": _OBJECT_STORAGE["AbortMultipartUpload"],
    "S3ListMultipartUploads": _OBJECT_STORAGE["ListMultipartUploads"],
    "S3ListParts": _OBJECT_STORAGE["ListMultipartUploadParts"],
}

# Tokens are for everybody who can sign: who they stand for is checked by their own rules.
_AUTH = {
    "RefreshSecurityToken": "",
    "GenerateUserSecurityToken": "",
    "GetResourcePrincipalToken": "",
    "CreateResourcePrincipalSessionToken": "",
}

NEEDS: dict[str, tuple[Need, ...]] = {
    operation: read_needs(text)
    for table in (_OBJECT_STORAGE, _S3, _COMPUTE, _VOLUMES, _NETWORK, _IDENTITY, _AUTH)
    for operation, text in table.items()
}
"""Needs by the SDK's name of the operation; one that is absent is nobody's."""

VERSIONED = {"DeleteObject": "DeleteObjectVersion", "S3DeleteObject": "DeleteObjectVersion"}
"""Calls that are another operation, in the tables, when they name a version."""

OWN = frozenset(
    {
        "GetUser",
        "ListApiKeys",
        "UploadApiKey",
        "DeleteApiKey",
        "ListCustomerSecretKeys",
        "CreateCustomerSecretKey",
        "UpdateCustomerSecretKey",
        "DeleteCustomerSecretKey",
    }
)
"""What every user may do with themself, without any policy (path field `user`; "Managing User Credentials")."""

PAR_RIGHTS = {
    "Read": ("OBJECT_READ",),
    "Write": ("OBJECT_CREATE", "OBJECT_OVERWRITE"),
    "ListObjects": ("OBJECT_INSPECT",),
}
"""What the maker of a pre-authenticated request must have, by the words in its access type or listing action."""
