"""Sections on one model."""
