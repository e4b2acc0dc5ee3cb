"""Our algorithms inside the training tools of others."""
