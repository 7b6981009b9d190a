"""What a detector counts: arrays in, arrays out."""
