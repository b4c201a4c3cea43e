"""Data: where samples come from (`sources`), how they are stored (`formats`), how workers share them (`splits`)."""
