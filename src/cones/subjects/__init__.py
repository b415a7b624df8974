"""Photographs of a subject, and what a search makes of them."""
