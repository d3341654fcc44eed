"""Figures of data sets, detections and training runs."""
