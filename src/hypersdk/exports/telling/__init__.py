"""What a run tells: its story in the store, its log, how far it is, what has stalled."""
