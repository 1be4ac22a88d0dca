"""The Amazon S3 Compatibility API: told to the native handlers in their own words, so there is one set of rules."""
