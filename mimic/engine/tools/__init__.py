"""Tool calls: whether, which, and with what arguments."""
