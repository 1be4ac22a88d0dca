"""What is in the cloud at the start."""
