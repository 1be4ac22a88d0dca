"""Bytes moving between two stores: it ends with a sealed partial or a committed object, and only `publish` names a file."""
