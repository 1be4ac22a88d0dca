"""HTTP bodies by libcurl: a request becomes bytes at an offset of this object, or an error (design rule 4)."""
