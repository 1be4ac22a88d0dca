"""One pure parser per disk format. A parser sees bytes through a `Reader` and can open nothing else."""
