"""Measures speed, memory and latency and compares them with other programs (peers): ``python -m tests.bench [CASE …]``.

Absolute times mean little on a shared machine. A case with a peer runs both programs alternately, after a warm-up
round, and compares the medians. A case without a peer compares its median with a limit. The number of rows is checked
after every run. The output ends with a table of all cases.
"""
