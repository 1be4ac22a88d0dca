"""A local file becomes an object: parts that the service checks, kept for the same call when it is interrupted."""
