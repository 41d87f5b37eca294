"""What the page carries for its tools."""
