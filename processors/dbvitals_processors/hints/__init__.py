"""Index hints: candidates from the queries, verified by the database's planner, chosen for the whole workload."""
