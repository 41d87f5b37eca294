"""Where text comes from, and its split into training and validation documents."""
