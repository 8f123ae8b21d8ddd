"""The statistics of verdicts: intervals, paired differences, agreement, rankings, variance, effects, missing data."""
