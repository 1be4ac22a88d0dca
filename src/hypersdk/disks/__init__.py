"""Local files in a disk format: what they are, whether they are whole, and the one outside program that we ask."""
