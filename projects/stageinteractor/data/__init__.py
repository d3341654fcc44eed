"""Data sets, their registration and checks, and the loaders."""
