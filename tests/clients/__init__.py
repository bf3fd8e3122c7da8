"""Real clients pointed at a real server."""
