"""What judging reads and keeps: answers, verdicts, control answers, scores."""
