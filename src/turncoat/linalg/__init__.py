"""Streaming passes over n vectors of d coordinates: Grams, distances, weighted sums, sorting networks.

Beside them arithmetic on batches of small (n, d) candidates.
"""
