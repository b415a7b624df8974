"""From a subject's examples to its concept neurons, and what can be done with them."""
