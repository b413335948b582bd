"""`make audit`: known holes in what is installed, or a plain word that nobody could look.

pip-audit ends well where its database knows nothing of any package, as behind a mirror; that does not prove anything.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from typing import Any


def main(pip_audit: str) -> int:
    """0 if no hole is known or nothing could be looked up; 1 if one is known."""
    command = [pip_audit, "--path", sysconfig.get_paths()["purelib"], "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print("NOT AUDITED: the database of known holes cannot be reached from here")
        print(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "")
        return 0
    return report(found)


def report(found: list[dict[str, Any]]) -> int:
    """Print what pip-audit says of each package. Gives the exit code."""
    looked_up = [one for one in found if "skip_reason" not in one]
    holed = [one for one in looked_up if one.get("vulns")]
    for one in holed:
        print(f"{one['name']} {one['version']}: {', '.join(str(hole['id']) for hole in one['vulns'])}")
    skipped = len(found) - len(looked_up)
    if not looked_up:
        print(f"NOT AUDITED: the database of known holes cannot be reached from here ({skipped} packages)")
    else:
        print(f"{len(looked_up)} packages looked up, {len(holed)} with known holes, {skipped} not found there")
    return 1 if holed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
