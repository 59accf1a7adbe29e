"""What `python -m apps.train` is made of: flags, and what they become."""
