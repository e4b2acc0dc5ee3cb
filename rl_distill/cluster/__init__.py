"""Where a run's parts live: in this process, or spread over a Ray cluster. The only folder that knows Ray."""
