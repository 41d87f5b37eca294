"""Sections on toy models of superposition."""
