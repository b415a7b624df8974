"""Methods by groups of subjects: the table."""
