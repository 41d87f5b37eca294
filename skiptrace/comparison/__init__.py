"""Two versions of a run side by side: parameters, metrics, skip-trigrams, heads."""
