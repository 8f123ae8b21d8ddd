"""A simulated judge: an OpenAI-compatible server whose biases and faults are known because they were ordered."""
