"""One experiment: a scan, its views, its file."""
