"""The page "Antennas" in the Airflow UI: a FastAPI app that only reads."""
