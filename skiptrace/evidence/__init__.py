"""Causal checks on the running model, corpus support, and how often mining is right."""
