"""The rules by which a finished trace is judged: one file, one rule, one function of that name."""
