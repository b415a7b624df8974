"""The artefact: sets of concept neurons, their file, and their shutting in a model.

Sets and files need numpy alone. torch is needed only where a model is: `projections`, `changes`,
`blocks` and `shutting`.
"""
