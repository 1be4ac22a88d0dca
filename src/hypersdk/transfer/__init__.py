"""Bytes between two stores: ends with a sealed partial or a committed object; only `publish` names a file."""
