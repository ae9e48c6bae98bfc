"""Records on their way between files and tables. The only room with pyarrow, DuckDB and the drivers of databases."""
