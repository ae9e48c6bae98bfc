"""What moves: the scheduler of jobs, the execution of one, control, recovery and the fan-out to watchers."""
