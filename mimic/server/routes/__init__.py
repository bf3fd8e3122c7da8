"""Routes of Litestar's, one module for each group."""
