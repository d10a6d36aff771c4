"""Drift, watched in the log writer: its rows are counted in the bins of profiles, and control is told."""
