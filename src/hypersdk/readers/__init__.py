"""Readers of foreign text: one per dialect, each pure and held by a corpus (design rule 1).

What a reader does not understand it refuses with file and line, never a default.
"""
