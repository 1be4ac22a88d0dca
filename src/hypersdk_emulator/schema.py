"""The tables of the emulated cloud. Times are virtual seconds since the epoch; `doc` columns hold JSON."""

BASE = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retry_tokens (
    scope TEXT, token TEXT, digest TEXT NOT NULL, resource TEXT NOT NULL, created REAL NOT NULL,
    PRIMARY KEY (scope, token)) WITHOUT ROWID;
"""

IDENTITY = """
CREATE TABLE IF NOT EXISTS compartments (
    id TEXT PRIMARY KEY, parent TEXT, name TEXT NOT NULL, created REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, created REAL NOT NULL, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS api_keys (
    key_id TEXT PRIMARY KEY, user TEXT NOT NULL, public_key TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS instance_certificates (
    instance TEXT PRIMARY KEY, compartment TEXT NOT NULL, not_after REAL NOT NULL, certificate TEXT NOT NULL,
    key TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS resource_principals (
    id TEXT PRIMARY KEY, type TEXT NOT NULL, compartment TEXT NOT NULL, parent TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS user_groups (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, created REAL NOT NULL, version INTEGER NOT NULL,
    description TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS memberships (
    id TEXT PRIMARY KEY, user TEXT NOT NULL, group_id TEXT NOT NULL, created REAL NOT NULL, UNIQUE (user, group_id))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dynamic_groups (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, created REAL NOT NULL, version INTEGER NOT NULL,
    description TEXT NOT NULL, rule TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS policies (
    id TEXT PRIMARY KEY, compartment TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE, created REAL NOT NULL,
    version INTEGER NOT NULL, description TEXT NOT NULL, statements TEXT NOT NULL, UNIQUE (compartment, name))
    WITHOUT ROWID;
"""

# An object's bytes are a body: an ordered list of immutable files. Commit of an upload and copies share files.
STORAGE = """
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY, compartment TEXT NOT NULL, created REAL NOT NULL, etag TEXT NOT NULL, doc TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bodies (id INTEGER PRIMARY KEY AUTOINCREMENT, size INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS segments (
    body INTEGER, start INTEGER, size INTEGER NOT NULL, file TEXT NOT NULL, PRIMARY KEY (body, start)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS segment_files ON segments (file);
CREATE TABLE IF NOT EXISTS objects (
    id INTEGER PRIMARY KEY AUTOINCREMENT, bucket TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
    latest INTEGER NOT NULL, marker INTEGER NOT NULL, unversioned INTEGER NOT NULL, etag TEXT NOT NULL,
    size INTEGER NOT NULL, md5 TEXT, created REAL NOT NULL, modified REAL NOT NULL, tier TEXT NOT NULL,
    body INTEGER, doc TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS object_versions ON objects (bucket, name, id);
CREATE INDEX IF NOT EXISTS object_bodies ON objects (body);
CREATE UNIQUE INDEX IF NOT EXISTS object_latest ON objects (bucket, name) WHERE latest = 1;
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, object TEXT NOT NULL, created REAL NOT NULL, doc TEXT NOT NULL)
    WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS upload_names ON uploads (bucket, object, id);
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT, number INTEGER, etag TEXT NOT NULL, size INTEGER NOT NULL, digests TEXT NOT NULL, file TEXT NOT NULL,
    created REAL NOT NULL, PRIMARY KEY (upload, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pars (
    id TEXT PRIMARY KEY, token TEXT NOT NULL UNIQUE, bucket TEXT NOT NULL, object TEXT, expires REAL NOT NULL,
    created REAL NOT NULL, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS copies (
    id TEXT PRIMARY KEY, compartment TEXT NOT NULL, created REAL NOT NULL, doc TEXT NOT NULL) WITHOUT ROWID;
"""

# `timeline` is state.py's; `version` counts the writes, for etags; a job is a compute work request and its work.
COMPUTE = """
CREATE TABLE IF NOT EXISTS instances (
    id TEXT PRIMARY KEY, compartment TEXT NOT NULL, name TEXT NOT NULL, created REAL NOT NULL, timeline TEXT NOT NULL,
    version INTEGER NOT NULL, last_image REAL, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (
    id TEXT PRIMARY KEY, compartment TEXT, name TEXT NOT NULL, created REAL NOT NULL, timeline TEXT NOT NULL,
    version INTEGER NOT NULL, deleted INTEGER NOT NULL, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS image_compartments ON images (compartment);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, operation TEXT NOT NULL, compartment TEXT NOT NULL, subject TEXT NOT NULL,
    accepted REAL NOT NULL, started REAL NOT NULL, due REAL NOT NULL, finished REAL, outcome TEXT NOT NULL,
    doc TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS job_subjects ON jobs (subject);
"""

# Resources without a column of their own: capability schemas, console histories, networks.
RESOURCES = """
CREATE TABLE IF NOT EXISTS resources (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, compartment TEXT, name TEXT NOT NULL, created REAL NOT NULL,
    timeline TEXT NOT NULL, parent TEXT NOT NULL, version INTEGER NOT NULL, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS resource_places ON resources (kind, compartment);
CREATE INDEX IF NOT EXISTS resource_parents ON resources (parent);
CREATE TABLE IF NOT EXISTS leases (scope TEXT, number INTEGER, until REAL, PRIMARY KEY (scope, number)) WITHOUT ROWID;
"""

# A volume's bytes: layers on layers (blockstorage/layers.py). Expression indexes find what hangs on a volume.
VOLUMES = """
CREATE TABLE IF NOT EXISTS layers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER, frozen INTEGER NOT NULL, length INTEGER NOT NULL, file TEXT,
    format TEXT NOT NULL, ours INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS layer_parents ON layers (parent);
CREATE INDEX IF NOT EXISTS layer_files ON layers (file);
CREATE TABLE IF NOT EXISTS layer_extents (
    layer INTEGER, start INTEGER, stop INTEGER NOT NULL, PRIMARY KEY (layer, start)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS layer_owners (owner TEXT, layer INTEGER, PRIMARY KEY (owner, layer)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS layer_owners_layers ON layer_owners (layer);
CREATE TABLE IF NOT EXISTS layer_trash (file TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS resource_volumes ON resources (json_extract(doc, '$.volumeId'));
CREATE INDEX IF NOT EXISTS resource_sources ON resources (json_extract(doc, '$.sourceDetails.id'));
"""

# When the lifecycle policy of a bucket that has one is looked at next: at a midnight of the virtual clock.
LIFECYCLE = """
CREATE TABLE IF NOT EXISTS lifecycle_sweeps (bucket TEXT PRIMARY KEY, next REAL NOT NULL) WITHOUT ROWID;
"""

ALL = (BASE, RESOURCES, IDENTITY, STORAGE, LIFECYCLE, COMPUTE, VOLUMES)
