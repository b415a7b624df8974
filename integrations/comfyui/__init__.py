# Copyright the Cones authors. Licensed under the Apache License, Version 2.0; see LICENSE.
"""Concept neurons in ComfyUI; see README.md."""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
