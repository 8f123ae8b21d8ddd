"""What a judge does to a gap: one module for each artefact, and what its equal answers and the reference show."""
