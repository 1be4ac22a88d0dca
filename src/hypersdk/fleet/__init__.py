"""Many exports: which instances, in which order, under which limits, on how many machines."""
