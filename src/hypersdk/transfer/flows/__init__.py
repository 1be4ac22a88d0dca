"""Bytes that pass through, from store to store, out of a stream or into one, in bounded memory; no file is ours."""
