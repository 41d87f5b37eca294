"""Vocabulary x vocabulary circuits as thin factors, and the scores read off them."""
