"""One instance, taken all the way to a verified disk: plan, preflight, steps, clean-up."""
