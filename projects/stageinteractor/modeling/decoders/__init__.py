"""Decoders: stages in a cascade or in parallel, and the published detectors' stages."""
