"""Asks a Dask, Ray or Spark cluster for shoal's workers: `python -m shoal.host URL`."""
