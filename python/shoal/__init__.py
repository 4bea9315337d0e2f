"""shoal from Python."""
