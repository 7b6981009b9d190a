"""Scans from a beamline: other programs' files, what they hold, and what can be said of them without truth."""
