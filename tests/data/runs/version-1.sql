BEGIN TRANSACTION;
CREATE TABLE about (
	name VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "about" VALUES('id','270e56a76a48563b');
CREATE TABLE intents (
	run_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	place JSON NOT NULL, 
	resource_id VARCHAR, 
	etag VARCHAR, 
	size BIGINT, 
	created VARCHAR NOT NULL, 
	removed VARCHAR, 
	PRIMARY KEY (run_id, kind, name), 
	FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
INSERT INTO "intents" VALUES('291126d0d652','image','web-02-hypersdk-291126d0d652','{"region": "us-ashburn-1", "compartment_id": "ocid1.compartment.oc1..aaaamain", "instance_id": "ocid1.instance.oc1.iad.aaaaweb02", "former_state": "STOPPED"}','ocid1.image.oc1.iad.j5qwf3ysfbftefaeanawcewokdjysmgtcswl4nmxnqc7ais3zyl72rsnb6db','4cc78e77-e001-7c7d-a707-fe192b9ec480',53687091200,'2026-11-25T14:33:39.645+00:00','2026-11-25T14:33:40.190+00:00');
INSERT INTO "intents" VALUES('291126d0d652','object','.hypersdk/291126d0d652/export-image.qcow2','{"namespace": "testns", "bucket": "exports"}',NULL,'5f35939f-9638-4eb2-989a-78ab0763cacd',1179648,'2026-11-25T14:33:39.759+00:00','2026-11-25T14:33:40.155+00:00');
INSERT INTO "intents" VALUES('d9f9ad2ec58a','image','web-01-hypersdk-d9f9ad2ec58a','{"region": "us-ashburn-1", "compartment_id": "ocid1.compartment.oc1..aaaamain", "instance_id": "ocid1.instance.oc1.iad.aaaaweb01", "former_state": "STOPPED"}',NULL,NULL,NULL,'2026-11-25T14:33:43.127+00:00',NULL);
CREATE TABLE leases (
	run_id VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	epoch INTEGER NOT NULL, 
	heartbeat VARCHAR NOT NULL, 
	PRIMARY KEY (run_id), 
	FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
INSERT INTO "leases" VALUES('291126d0d652','vm:4961',1,'2026-11-25T14:33:39.468+00:00');
INSERT INTO "leases" VALUES('d9f9ad2ec58a','vm:5019',1,'2026-11-25T14:33:42.933+00:00');
CREATE TABLE migrations (
	number INTEGER NOT NULL, 
	applied VARCHAR NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "migrations" VALUES(1,'2026-11-25T14:33:38.377+00:00');
CREATE TABLE runs (
	run_id VARCHAR NOT NULL, 
	"key" VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	subject VARCHAR NOT NULL, 
	"plan" JSON NOT NULL, 
	state VARCHAR NOT NULL, 
	detail VARCHAR, 
	cancel BOOLEAN NOT NULL, 
	created VARCHAR NOT NULL, 
	updated VARCHAR NOT NULL, 
	host VARCHAR NOT NULL, 
	tool_version VARCHAR NOT NULL, 
	PRIMARY KEY (run_id), 
	CONSTRAINT runs_key_generation UNIQUE ("key", generation)
);
INSERT INTO "runs" VALUES('291126d0d652','4330dbf81d2c6cf0b83d2264dd2325f1fbe4658954da8dafc3579bc25a941fd6',1,'web-02','{"run_id": "291126d0d652", "key": "4330dbf81d2c6cf0b83d2264dd2325f1fbe4658954da8dafc3579bc25a941fd6", "generation": 1, "tenancy_id": "ocid1.tenancy.oc1..aaaatests", "region": "us-ashburn-1", "instance_id": "ocid1.instance.oc1.iad.aaaaweb02", "instance_name": "web-02", "compartment_id": "ocid1.compartment.oc1..aaaamain", "image_name": "web-02-hypersdk-291126d0d652", "tags": {"hypersdk-run": "291126d0d652", "hypersdk-host": "vm"}, "targets": [{"format": "qcow2", "staging": {"scheme": "oci", "namespace": "testns", "bucket": "exports", "name": ".hypersdk/291126d0d652/export-image.qcow2", "version": null}, "path": "/srv/exports/web-02.qcow2", "final": null}], "steps": [{"name": "preflight", "kind": "preflight", "format": null}, {"name": "create-image", "kind": "create-image", "format": null}, {"name": "await-image", "kind": "await-image", "format": null}, {"name": "export-image", "kind": "export-image", "format": "qcow2"}, {"name": "await-object", "kind": "await-object", "format": "qcow2"}, {"name": "download", "kind": "download", "format": "qcow2"}, {"name": "verify", "kind": "verify", "format": "qcow2"}, {"name": "publish", "kind": "publish", "format": "qcow2"}, {"name": "write-manifest", "kind": "write-manifest", "format": null}, {"name": "clean-up", "kind": "clean-up", "format": null}], "keep_image": false}','done',NULL,0,'2026-11-25T14:33:39.454+00:00','2026-11-25T14:33:40.204+00:00','vm','0.1.0');
INSERT INTO "runs" VALUES('d9f9ad2ec58a','21761c79f1dbfbef3b61ca5e9e8cf7c4b870566ecbee3120b543ee8d6e325d43',1,'web-01','{"run_id": "d9f9ad2ec58a", "key": "21761c79f1dbfbef3b61ca5e9e8cf7c4b870566ecbee3120b543ee8d6e325d43", "generation": 1, "tenancy_id": "ocid1.tenancy.oc1..aaaatests", "region": "us-ashburn-1", "instance_id": "ocid1.instance.oc1.iad.aaaaweb01", "instance_name": "web-01", "compartment_id": "ocid1.compartment.oc1..aaaamain", "image_name": "web-01-hypersdk-d9f9ad2ec58a", "tags": {"hypersdk-run": "d9f9ad2ec58a", "hypersdk-host": "vm"}, "targets": [{"format": "qcow2", "staging": {"scheme": "oci", "namespace": "testns", "bucket": "exports", "name": ".hypersdk/d9f9ad2ec58a/export-image.qcow2", "version": null}, "path": "/srv/exports/web-01.qcow2", "final": null}], "steps": [{"name": "preflight", "kind": "preflight", "format": null}, {"name": "create-image", "kind": "create-image", "format": null}, {"name": "await-image", "kind": "await-image", "format": null}, {"name": "export-image", "kind": "export-image", "format": "qcow2"}, {"name": "await-object", "kind": "await-object", "format": "qcow2"}, {"name": "download", "kind": "download", "format": "qcow2"}, {"name": "verify", "kind": "verify", "format": "qcow2"}, {"name": "publish", "kind": "publish", "format": "qcow2"}, {"name": "write-manifest", "kind": "write-manifest", "format": null}, {"name": "clean-up", "kind": "clean-up", "format": null}], "keep_image": false}','active',NULL,0,'2026-11-25T14:33:42.882+00:00','2026-11-25T14:33:42.919+00:00','vm','0.1.0');
CREATE TABLE steps (
	run_id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	result JSON, 
	started VARCHAR NOT NULL, 
	finished VARCHAR, 
	PRIMARY KEY (run_id, name), 
	FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
INSERT INTO "steps" VALUES('291126d0d652','preflight','done','{"former_state": "STOPPED", "instance": {"id": "ocid1.instance.oc1.iad.aaaaweb02", "name": "web-02", "compartment_id": "ocid1.compartment.oc1..aaaamain", "region": "us-ashburn-1", "availability_domain": "Test:US-ASHBURN-AD-1", "shape": "VM.Standard.E4.Flex", "image_id": "ocid1.image.oc1.iad.aaaaplatform", "launch_options": {"bootVolumeType": "PARAVIRTUALIZED", "firmware": "UEFI_64", "networkType": "PARAVIRTUALIZED", "remoteDataVolumeType": "PARAVIRTUALIZED", "isPvEncryptionInTransitEnabled": false, "isConsistentVolumeNamingEnabled": true}, "metadata_keys": [], "tags": {}}, "boot_volume": {"id": "ocid1.bootvolume.oc1.iad.aaaaweb02", "name": "web-02 (Boot Volume)", "size": 53687091200}, "data_volumes": [], "versioned": false, "notes": ["/srv/exports has 39.8 GiB free, the boot volume 50.0 GiB; unused space is not exported, so it may fit: it is checked again once the size is known"]}','2026-11-25T14:33:39.472+00:00','2026-11-25T14:33:39.606+00:00');
INSERT INTO "steps" VALUES('291126d0d652','create-image','done','{"image_id": "ocid1.image.oc1.iad.j5qwf3ysfbftefaeanawcewokdjysmgtcswl4nmxnqc7ais3zyl72rsnb6db", "operation_id": "ocid1.coreservicesworkrequest.oc1.iad.6rpplyrdu7qpfyyz7nyvldemk5dvr2g62lkb6zfygcoffbmb5zhhwjeujte5"}','2026-11-25T14:33:39.622+00:00','2026-11-25T14:33:39.679+00:00');
INSERT INTO "steps" VALUES('291126d0d652','await-image','done','{"size": 53687091200, "operating_system": "Oracle Linux", "operating_system_version": "9", "former_state": "STOPPED", "instance_back": true}','2026-11-25T14:33:39.690+00:00','2026-11-25T14:33:39.739+00:00');
INSERT INTO "steps" VALUES('291126d0d652','export-image','done','{"operation_id": "ocid1.coreservicesworkrequest.oc1.iad.7sso5wgm43ggus4tboj3tpg56cxk5qboehmjmom46s74dcsu6ngjwi4aauxs"}','2026-11-25T14:33:39.746+00:00','2026-11-25T14:33:39.782+00:00');
INSERT INTO "steps" VALUES('291126d0d652','await-object','done','{"size": 1179648, "etag": "5f35939f-9638-4eb2-989a-78ab0763cacd", "version": "499f1260-e1bf-4386-9c07-5220a6c3dbe4", "service_checksums": {}}','2026-11-25T14:33:39.798+00:00','2026-11-25T14:33:39.919+00:00');
INSERT INTO "steps" VALUES('291126d0d652','download','done','{"size": 1179648, "etag": "5f35939f-9638-4eb2-989a-78ab0763cacd", "version": "499f1260-e1bf-4386-9c07-5220a6c3dbe4", "service_checksums": {}, "checksums": {"crc32c": "e0a56ab4"}}','2026-11-25T14:33:39.926+00:00','2026-11-25T14:33:39.978+00:00');
INSERT INTO "steps" VALUES('291126d0d652','verify','done','{"size": 1179648, "mark": "65024:1482754:1795617219959895174", "virtual_size": 67108864, "checksums": {"sha256": "c036aab5d98c84a9cfebe2bebc0270c171fe4ac9c2ce3c701cf1d008e4a71051", "crc32c": "e0a56ab4"}, "proof": ["1179648 bytes, as many as the object has", "QCOW2 version 3, 64.0 KiB clusters: no backing file, external data, encryption or snapshots", "13 clusters: aligned, inside the file, used once", "virtual size: 64.0 MiB (67108864 bytes)", "data: present", "qemu-img check: clean"]}','2026-11-25T14:33:39.984+00:00','2026-11-25T14:33:40.051+00:00');
INSERT INTO "steps" VALUES('291126d0d652','publish','done','{"path": "/srv/exports/web-02.qcow2"}','2026-11-25T14:33:40.066+00:00','2026-11-25T14:33:40.090+00:00');
INSERT INTO "steps" VALUES('291126d0d652','write-manifest','done','{"manifests": ["/srv/exports/web-02.qcow2.manifest.json"]}','2026-11-25T14:33:40.091+00:00','2026-11-25T14:33:40.110+00:00');
INSERT INTO "steps" VALUES('291126d0d652','clean-up','done','{"kept": [], "failed": []}','2026-11-25T14:33:40.112+00:00','2026-11-25T14:33:40.197+00:00');
INSERT INTO "steps" VALUES('d9f9ad2ec58a','preflight','done','{"former_state": "STOPPED", "instance": {"id": "ocid1.instance.oc1.iad.aaaaweb01", "name": "web-01", "compartment_id": "ocid1.compartment.oc1..aaaamain", "region": "us-ashburn-1", "availability_domain": "Test:US-ASHBURN-AD-1", "shape": "VM.Standard.E4.Flex", "image_id": "ocid1.image.oc1.iad.aaaaplatform", "launch_options": {"bootVolumeType": "PARAVIRTUALIZED", "firmware": "UEFI_64", "networkType": "PARAVIRTUALIZED", "remoteDataVolumeType": "PARAVIRTUALIZED", "isPvEncryptionInTransitEnabled": false, "isConsistentVolumeNamingEnabled": true}, "metadata_keys": [], "tags": {}}, "boot_volume": {"id": "ocid1.bootvolume.oc1.iad.aaaaweb01", "name": "web-01 (Boot Volume)", "size": 53687091200}, "data_volumes": [], "versioned": false, "notes": ["/srv/exports has 40.0 GiB free, the boot volume 50.0 GiB; unused space is not exported, so it may fit: it is checked again once the size is known"]}','2026-11-25T14:33:42.944+00:00','2026-11-25T14:33:43.092+00:00');
INSERT INTO "steps" VALUES('d9f9ad2ec58a','create-image','started',NULL,'2026-11-25T14:33:43.106+00:00',NULL);
COMMIT;
