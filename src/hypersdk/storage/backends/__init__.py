"""One file per kind of store; each has the same verbs in the same order and imports none of the others."""
