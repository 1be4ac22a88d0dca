"""Object Storage: buckets, objects, multipart uploads, pre-authenticated requests, rules."""
