"""What share of a model its tables are: attention with parts replaced, entry by entry, measured on held-out text."""
