"""Where work runs: local processes, queues, whose a folder is, what a job has used. No physics."""
