"""What share of a model its tables are: attention with its parts replaced, entry by entry, measured on held-out text."""
