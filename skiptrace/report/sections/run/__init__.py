"""Sections on the whole run."""
