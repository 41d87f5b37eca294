"""Sections on sparse autoencoders."""
