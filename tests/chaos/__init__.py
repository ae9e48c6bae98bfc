"""Tests exactly-once: imports whose processes, connections or disks fail, compared with undisturbed imports."""
