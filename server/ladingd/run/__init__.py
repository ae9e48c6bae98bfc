"""Runs jobs: control, scheduler, executions, worker processes, recovery, upkeep and watches."""
