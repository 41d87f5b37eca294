"""Skip-trigrams of features: what the heads of the last layer do between directions of the stream that they read."""
