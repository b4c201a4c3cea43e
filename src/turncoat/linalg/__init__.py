"""Streaming passes over n vectors of d coordinates: Grams, distances, weighted sums, sorting networks."""
