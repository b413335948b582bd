"""The system calls and the time: nothing else of the mirror touches the disk or a clock."""
