"""A program for an environment of its own: OpenAI's Agents SDK, which needs an older version of websockets."""
