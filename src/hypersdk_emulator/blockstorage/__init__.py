"""Block storage: volumes, boot volumes, clones, backups, groups and attachments, with real bytes."""
