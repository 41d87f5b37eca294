"""Rules of the corpus: what counts of the training text say next, and how often a model says the same."""
