#!/bin/sh
# One worker of a search that is spread over many: the runs of seed SEED + JOB_COMPLETION_INDEX, which Kubernetes sets in an
# indexed Job. Its last lines are what gather.sh reads: "found TOKEN" for each token, then "done RUNS VIOLATIONS".
# From the environment: EXPERIMENT; PROFILE (the experiment's first), SEED (1), SECONDS_MAX or RUNS_MAX, JOBS (1), OPTIONS (more
# of bmc_lab explore). Exit status: 0 searched, whether or not something was found; 1 an error of bmc_lab; 2 a wrong environment.
set -u
wrong() { echo "bmc_lab_worker: $1" >&2; exit 2; }
number() { case $2 in ''|*[!0-9]*) wrong "$1: '$2' is not a number" ;; esac; }

index=${JOB_COMPLETION_INDEX:-0} seed=${SEED:-1}
[ -n "${EXPERIMENT:-}" ] || wrong "EXPERIMENT is not set; bmc_lab list shows those there are"
number JOB_COMPLETION_INDEX "$index"
number SEED "$seed"
seed=$((seed + index))
set -- explore "$EXPERIMENT" --seed "$seed" --jobs "${JOBS:-1}" --json
[ -z "${PROFILE:-}" ] || set -- "$@" --profile "$PROFILE"
[ -z "${SECONDS_MAX:-}" ] || set -- "$@" --seconds "$SECONDS_MAX"
[ -z "${RUNS_MAX:-}" ] || set -- "$@" --runs "$RUNS_MAX"
# shellcheck disable=SC2086  # words
echo "worker $index: bmc_lab $* ${OPTIONS:-}"
# shellcheck disable=SC2086
result=$(bmc_lab "$@" ${OPTIONS:-})
status=$?
case $status in
  0|2) ;;
  *) echo "$result"; echo "bmc_lab_worker: worker $index: bmc_lab ended with exit status $status" >&2; exit 1 ;;
esac
value() { printf '%s\n' "$result" | sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p"; }
value token | sort -u | sed 's/^/found /'
echo "done $(value runs | head -n 1) $(value violations | head -n 1)"
