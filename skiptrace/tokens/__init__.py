"""From documents to token arrays, a vocabulary table and n-gram baselines."""
