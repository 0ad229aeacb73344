"""Operators, sensors, triggers and defaults that the DAGs share."""
