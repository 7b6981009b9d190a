"""Our files in the formats of others."""
