"""Every reconstructor side by side: registry, rows, pictures, answer."""
