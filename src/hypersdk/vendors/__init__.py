"""One room per vendor's SDK: sessions, credentials, and the vendor's errors told in our tree."""
