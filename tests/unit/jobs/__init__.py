"""Work in the background, in one process."""
