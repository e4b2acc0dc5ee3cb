"""The report on runs: what their folders hold, gathered into one page that a person opens without network."""
