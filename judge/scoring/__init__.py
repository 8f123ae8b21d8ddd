"""What is asked, in which order, at what price; each reply kept, each verdict written from what was kept."""
