"""Who answers: OpenAI-compatible servers, their limits and dialects, batches, and the offline reference."""
