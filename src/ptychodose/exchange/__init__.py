"""Scans as other programs write them: read, checked for what a study needs, and written as this study's CXI."""
