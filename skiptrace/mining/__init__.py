"""The largest circuit entries as bigram, skip-trigram and positional tables."""
