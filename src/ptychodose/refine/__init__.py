"""Learned steps after the iterative solution."""
