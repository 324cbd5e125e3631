"""The job of simulate.py: personas, debates, tables and figures, each made only as far as it is not in the store."""
