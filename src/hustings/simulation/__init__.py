"""The job of simulate.py: makes the personas, debates, tables and figures that are not in the store yet."""
