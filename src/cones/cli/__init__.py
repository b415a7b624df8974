"""The commands of the command line, a file each: they parse, call one function and print.

What is slow to import (torch, diffusers) is imported inside a command, when it runs.
"""
