"""What the report's page looks up: largest entries of every token, corners of circuits, attention on texts."""
