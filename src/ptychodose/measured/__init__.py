"""Scans from a beamline: what can be said of them without truth."""
