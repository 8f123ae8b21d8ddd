"""Training runs: steps, optimizers, schedule, state to resume from, devices, what watches them."""
