"""`avocet review`: one candidate after another, decided key by key. `avocet submit` shares the editor and the drafts.

Reading order
    `command`                       the flags, and what happens on leaving
    `walk`, `decisions`             what each key does; how a decision is sent, and what becomes of a refused one
    `supply`, `items`               what comes next, and how it is claimed and released
    `talk`, `keys`, `wording`       questions and answers, single keys and signals, what is said
    `corrections`, `message_draft`  what the reviewer types, as text or as a message with tool calls
    `drafts`, `workplace`           what was typed, on disk: while an editor is open, and afterwards
    `editor`, `pager`, `programs`   other programs on the terminal

Rules
    - Nothing typed is lost: it is on disk before it is sent, and goes when the decision is stored or the reviewer says
      so.
    - A claim is released however the review ends. Only after SIGKILL it ends by its lease.
    - Esc never decides anything.
"""
