"""Many doses, overlaps and seeds: design, table, figures."""
