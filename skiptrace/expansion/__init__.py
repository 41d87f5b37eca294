"""Circuits written chunk by chunk to Parquet, and read back."""
