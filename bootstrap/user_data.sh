# Gets Python going and makes sure that this instance ends; everything else is bootstrap/agent.py, or in a cluster MODULE.
# Knows RUN BUCKET BUNDLE DATA REGION DEADMAN_MINUTES STOP_AT MAX_PRICE TOPIC (exported above) and no value of its own.
set -Eeuo pipefail
export ROOT="${SIGNSPOT_ROOT:-}" DATA TOPIC AWS_DEFAULT_REGION="$REGION" AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=8
HOUSE="$ROOT/opt/signspot" LOGS="$ROOT/var/log/signspot" RESULTS="s3://$BUCKET/runs/$RUN"
finish() {                                   # every way out leads here; 75: the group may replace this box
  code=$?
  [ "$code" -eq 0 ] || code=${shut_down:-$code}
  trap - EXIT ERR; trap '' PIPE; set +e
  export AWS_MAX_ATTEMPTS=2
  shutdown -h +5                             # the way out is paid for too: it ends, wherever it may hang
  INSTANCE_ID=${INSTANCE_ID:-$(cat "$ROOT/var/lib/cloud/data/instance-id" || echo unknown)}
  echo "signspot: ending with code $code"
  case "$code ${MODULE:-}" in "0 "* | "75 "* | *.worker) ;; *) (cd "$HOUSE" && venv/bin/python -m bootstrap.epitaph "$code") ;; esac
  aws s3 cp --only-show-errors "$LOGS/boot.log" "$RESULTS/logs/$INSTANCE_ID/boot/000000000000.log"
  [ "$code" -eq 75 ] || for pause in 1 2 4 8 16 32 0; do
    aws autoscaling terminate-instance-in-auto-scaling-group --instance-id "$INSTANCE_ID" --should-decrement-desired-capacity && break
    sleep "$pause"
  done
  shutdown -h now
}
trap finish EXIT
trap 'shut_down=75' TERM                     # AWS takes the machine: let the agent save; this ends no run
stop=$(date -d "$STOP_AT" +%s) || stop=$(($(date +%s) + DEADMAN_MINUTES * 60))
left=$(((stop - $(date +%s)) / 60))          # the dead-man timer, should all else hang:
shutdown -h "+$((left < 1 ? 1 : left > DEADMAN_MINUTES ? DEADMAN_MINUTES : left))"
INSTANCE_ID=$(cat "$ROOT/var/lib/cloud/data/instance-id")
export INSTANCE_ID
mkdir -p "$HOUSE" "$LOGS"
exec > >(trap '' TERM; exec tee -a "$LOGS/boot.log") 2>&1
aws s3 cp --only-show-errors "$BUNDLE" "$HOUSE/bundle.zip" & bundle=$!
status=$(AWS_MAX_ATTEMPTS=2 aws s3 cp "$RESULTS/status.json" - 2>/dev/null) || true
[[ ! $status =~ \"phase\":\"(done|failed|expired)\" ]] || exit 0    # the run is over: only the group is left to end
wait "$bundle"
python3 -m zipfile -e "$HOUSE/bundle.zip" "$HOUSE"
bash "$HOUSE/bootstrap/install.sh" "$HOUSE"
cd "$HOUSE" && venv/bin/python -m "${MODULE:-bootstrap.agent}"
