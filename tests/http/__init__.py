"""Real servers over HTTP."""
