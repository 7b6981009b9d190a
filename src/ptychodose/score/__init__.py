"""What "better" means: alignment, metrics, Fourier ring correlation, the scored region."""
