"""Objects that clients store and find again by id: responses, conversations, and chat completions."""
