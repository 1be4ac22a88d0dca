"""From a file or a filter to the plan of a fleet."""
