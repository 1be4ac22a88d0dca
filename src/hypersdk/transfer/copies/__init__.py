"""Copies of one object or of many: planned before the first byte, small ones at once, each with exactly one outcome."""
