"""Seeded fault drills: whatever happens, nothing is lost and nothing is counted twice."""
