"""Speed, memory and latency beside the peers, in one run: ``python -m tests.bench [CASE …]``.

Absolute times mean little on a shared machine. Every case with a peer runs the peer and us in turn, after a round that
warms both up, and compares the medians; a case without a peer compares the median with its limit. The number of rows
that arrived is checked after every run. At the end stands one table of all cases.
"""
