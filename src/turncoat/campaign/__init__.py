"""Several runs from one specification: grids, and running them so that nothing finished is lost."""
