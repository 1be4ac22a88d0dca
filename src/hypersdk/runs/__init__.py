"""The run store: what was asked, which steps are done, what may be left in the cloud, and who drives a run."""
