"""What the photons allow: Fisher information and the limits it sets."""
