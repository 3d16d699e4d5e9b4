# Gets Python going and makes sure that this instance ends; everything else is bootstrap/agent.py.
# Knows RUN BUCKET BUNDLE DATA REGION DEADMAN_MINUTES STOP_AT TOPIC (exported above) and no value of its own.
set -Eeuo pipefail
export ROOT="${SIGNSPOT_ROOT:-}" DATA TOPIC AWS_DEFAULT_REGION="$REGION" AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=8
finish() {                                   # every way out leads here; 75: the group may replace this box
  code=$?
  [ "$code" -eq 0 ] || code=${shut_down:-$code}
  trap - EXIT ERR
  echo "signspot: ending with code $code"
  aws s3 cp --only-show-errors "$ROOT/var/log/signspot/boot.log" "s3://$BUCKET/runs/$RUN/logs/${INSTANCE_ID:=unknown}/boot/000000000000.log" || true
  [ "$code" -eq 75 ] || aws autoscaling terminate-instance-in-auto-scaling-group --instance-id "$INSTANCE_ID" --should-decrement-desired-capacity || true
  shutdown -h now
}
trap finish EXIT
trap 'shut_down=75' TERM                     # AWS takes the machine: let the agent save; this ends no run
shutdown -h "+$DEADMAN_MINUTES"              # the dead-man timer, should all else hang
INSTANCE_ID=$(cat "$ROOT/var/lib/cloud/data/instance-id")
export INSTANCE_ID
mkdir -p "$ROOT/opt/signspot" "$ROOT/var/log/signspot"
exec > >(tee -a "$ROOT/var/log/signspot/boot.log") 2>&1
aws s3 cp --only-show-errors "$BUNDLE" "$ROOT/opt/signspot/bundle.zip"
python3 -m zipfile -e "$ROOT/opt/signspot/bundle.zip" "$ROOT/opt/signspot"
bash "$ROOT/opt/signspot/bootstrap/install.sh" "$ROOT/opt/signspot"
cd "$ROOT/opt/signspot" && venv/bin/python -m bootstrap.agent
