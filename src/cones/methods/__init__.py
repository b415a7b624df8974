"""Other methods and controls, to compare concept neurons with."""
