"""Simulated device traffic, and a ledger of exactly what was sent."""
