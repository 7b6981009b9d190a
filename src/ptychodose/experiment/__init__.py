"""What a measured scan leaves unknown: its probe, positions, background and bad pixels, solved for with the object."""
