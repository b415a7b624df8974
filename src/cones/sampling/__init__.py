"""From prompts to pictures and attention maps."""
