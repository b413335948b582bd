"""Who may call what: the table of roles, tokens, certificates, and the files that hold them."""
