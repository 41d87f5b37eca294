"""The attention-only transformer, its training and its checkpoint."""
