"""Training and evaluation of what a config describes."""
