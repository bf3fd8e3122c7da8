"""OpenAI's API, so that its clients can be pointed at Mimic. Shapes and codes: OpenAI's OpenAPI document, 2.3.0."""
