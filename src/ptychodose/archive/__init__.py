"""The finished study for others."""
