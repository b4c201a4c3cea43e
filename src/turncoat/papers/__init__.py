"""The four papers: their experiments, and their claims as code."""
