#!/bin/bash
# Makes the agent's Python environment below $1 from the lock files: small, so that the agent is
# there within seconds and can say what the rest is doing. The trainer's packages come later (install.py).
set -Eeuo pipefail
cd "$1"
python3 -m venv venv || {                    # Ubuntu ships venv apart; another apt may hold the lock at boot
  for pause in 5 15 30 60 90 0; do           # for the lock of the lists no timeout counts: apt gives up at once
    apt-get -q update && break
    sleep "$pause"
  done
  apt-get -o DPkg::Lock::Timeout=300 -q -y install python3-venv
  python3 -m venv venv
}
venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes --retries 10 -r requirements/uv.txt
venv/bin/uv pip install -q --python venv/bin/python --require-hashes -r requirements/agent.txt
