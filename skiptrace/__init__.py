"""Read the algorithms out of small attention-only transformers."""
