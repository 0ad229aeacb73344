"""Triggers of the project: what a deferred task waits for in the triggerer."""
