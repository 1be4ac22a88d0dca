"""Compute: instances, images, exports, imports and their work requests."""
