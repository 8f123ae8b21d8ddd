"""The ground floor: records, files, configuration, console, statistics. Imports no torch."""
