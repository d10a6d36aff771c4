"""Drift over all nodes: what they have counted, added up, and held against profiles."""
