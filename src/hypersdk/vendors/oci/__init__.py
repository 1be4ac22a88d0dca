"""Oracle Cloud: the only room that imports the OCI SDK."""
