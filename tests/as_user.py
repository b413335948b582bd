"""Run a command without root's rights: `python tests/as_user.py USER PATH ARGUMENT...`; it ends when its parent does.

Tests start it as a program, since a fork of a process that uses gRPC, as Popen's `user` needs, may crash.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    user, *command = sys.argv[1:]
    if user:
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
    # Not execvp: it imports a module, which the user may not be able to read.
    os.execv(command[0], command)
