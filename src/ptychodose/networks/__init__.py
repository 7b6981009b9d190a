"""Unrolled networks on groups of patterns: data, training, prediction, stitching."""
