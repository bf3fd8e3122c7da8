"""The page, and what a browser makes of it."""
