"""Speed and memory beside the peers, in one run: ``python -m tests.bench [CASE …]``.

Absolute times mean little on a shared machine. Every case runs the peer and us in turn and prints the ratio of the
medians; a case without a peer prints the median beside its limit.
"""
