"""Tool calls: the decision to call, the choice of tools, and the arguments."""
