"""Programs for an environment of their own: clients that need an older OpenAI SDK for Python."""
