"""One file per way to sign in; all of them are `Credentials` (`grant.py`), and nobody else knows which one it is."""
