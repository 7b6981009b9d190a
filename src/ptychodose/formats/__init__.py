"""File formats: atomic writing, suspicious reading, HDF5, NPZ, bundles."""
