"""The environment of an OpenAI SDK of 2024, with the second version of the Assistants API."""
