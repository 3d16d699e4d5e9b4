#!/bin/bash
# Makes the agent's Python environment below $1 from the lock files: small, so that the agent is
# there within seconds and can say what the rest is doing. The trainer's packages come later (install.py).
set -Eeuo pipefail
cd "$1"
again() {                                    # with these pauses: no boot is lost to a hiccup
  for pause in $1; do
    "${@:2}" && return
    sleep "$pause"
  done
  "${@:2}"
}
export PIP_ROOT_USER_ACTION=ignore           # root is right here
uv_itself=(--disable-pip-version-check --no-cache-dir --no-deps --no-compile --require-hashes -r requirements/uv.txt)
if python3 -c 'import pip' 2>/dev/null; then # a venv without a pip of its own is there three seconds sooner
  python3 -m venv --without-pip venv
  [ "$(uname)" != Linux ] ||                 # the index has thousands of uv's files, which pip holds against each platform
    uv_itself+=(--implementation py --abi none --platform "manylinux2014_$(uname -m)")
  again '2 8 20' python3 -m pip install -q --target uv "${uv_itself[@]}"
  ln -sf ../../uv/bin/uv venv/bin/uv
else
  python3 -m venv venv || {                  # Ubuntu ships venv apart
    again '5 15 30 60 90' apt-get -q update  # another apt at work: for the lock of the lists no timeout counts
    apt-get -o DPkg::Lock::Timeout=300 -q -y install python3-venv
    python3 -m venv venv
  }
  again '2 8 20' venv/bin/python -m pip install -q "${uv_itself[@]}"
fi
again '2 8 20' venv/bin/uv pip install -q --python venv/bin/python --require-hashes -r requirements/agent.txt
venv/bin/python -m bootstrap.packages >/dev/null 2>&1 & # the trainer's, while the agent starts
