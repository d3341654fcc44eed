"""Weights that come from elsewhere."""
