"""Cones and its rivals behind one interface.

Each method is one module of this package with a `METHOD`, see `cones.methods.method.Method`; adding
one takes such a module and its name here. This file imports none of them, so that the command line
knows the names at once; `cones.methods.registry` holds the methods themselves.
"""

from typing import Literal

MethodName = Literal["cones", "textual_inversion", "dreambooth", "custom_diffusion", "lora"]
