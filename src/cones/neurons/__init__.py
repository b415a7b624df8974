"""The artefact: sets of concept neurons, their file, and their shutting in a model."""
