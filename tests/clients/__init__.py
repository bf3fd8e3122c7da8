"""Real clients that talk to a real server."""
