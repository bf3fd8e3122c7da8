"""OpenAI's API, for OpenAI's clients. Shapes and codes: OpenAI's OpenAPI document, 2.3.0."""
