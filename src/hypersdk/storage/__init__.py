"""Stores of objects behind one small protocol."""
