"""Where cells run: as processes of this machine, or on a Ray cluster; `base` says what every executor can do."""
