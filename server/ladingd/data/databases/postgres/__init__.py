"""PostgreSQL as a target: its catalog, its ledger, binary COPY, and the records that it refuses."""
