"""Reading and writing files: text, JSON, atomic writes, locks, and what a file is."""
