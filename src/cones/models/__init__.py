"""The base model: opening it, its families, its prompts."""
