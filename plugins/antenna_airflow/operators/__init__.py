"""Operators of the project."""
