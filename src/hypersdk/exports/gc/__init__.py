"""Leftovers: found by ledger, tag and name, told whose they are, and deleted."""
