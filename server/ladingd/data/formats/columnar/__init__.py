"""What Parquet and Arrow share: files of typed columns, addressed by row."""
