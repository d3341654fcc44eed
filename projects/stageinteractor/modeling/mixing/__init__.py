"""Mixing of sampled features by filters generated from a query, and reuse of these filters."""
