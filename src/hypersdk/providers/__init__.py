"""Clouds that own instances: one method = one request; never waits, never downloads."""
