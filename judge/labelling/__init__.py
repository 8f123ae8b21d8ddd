"""A person rates blind, so that a judge can be held against a person."""
