"""Real servers, asked over HTTP."""
