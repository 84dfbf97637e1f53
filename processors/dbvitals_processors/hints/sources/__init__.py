"""Where the advisor's workload comes from: one file a source, each ends in a list of ``WorkloadQuery``."""
