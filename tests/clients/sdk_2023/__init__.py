"""The environment of OpenAI's SDK of 2023, whose Assistants API is the first version."""
