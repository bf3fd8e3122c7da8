"""From a neutral request to an answer."""
