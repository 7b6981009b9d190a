"""Every reconstructor on the same photons: the registry, the rows of the comparison."""
