"""Reconstruction without learning: Poisson maximum a posteriori."""
