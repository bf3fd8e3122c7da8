"""Applications of the Assistants kind, which run with OpenAI's SDKs of 2023, of 2024 and of today."""
