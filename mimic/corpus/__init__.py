"""The corpus: conversations and the stores that hold them. Nothing here depends on a chat API or HTTP."""
