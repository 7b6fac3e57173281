"""A study's report: what to use, how sure that is, and what it cost, as one page and as Markdown; loaded only when one is made."""
