"""Reconstructions side by side: pictures, the answer, files from elsewhere."""
