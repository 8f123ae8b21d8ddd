"""Probes: what a base model's test loss does not show. Each module measures one thing and names its source."""
