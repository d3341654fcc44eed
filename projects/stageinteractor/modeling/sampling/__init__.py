"""Sampling of multi-scale features: where to sample, and one function that chooses how."""
