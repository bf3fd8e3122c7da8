"""The corpus: what was said, and where it lies. Nothing here knows a chat API or HTTP."""
