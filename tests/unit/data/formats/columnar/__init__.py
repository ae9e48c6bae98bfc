"""Tests of ``data/formats/columnar``, and of Parquet and Arrow."""
