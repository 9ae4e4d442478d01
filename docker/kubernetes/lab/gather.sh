#!/bin/sh
# Waits for the Job of the laboratory and prints what its workers found: each token once, then a line that counts. Exit status: 0
# nothing was found, 2 tokens were, 1 a worker failed or the cluster cannot be asked. Options go to kubectl (--context, --namespace…).
set -u
namespace="--namespace bmcpair"
case " $* " in *" --namespace"*|*" -n"*) namespace= ;; esac
# shellcheck disable=SC2086
ask() { kubectl $namespace "$@"; }

while :; do
  # One number, or nothing, for each.
  state=$(ask "$@" get job lab -o 'jsonpath={.spec.completions} {.status.succeeded} / {.status.failed}') || exit 1
  wanted=${state%% *} succeeded=$(echo "${state#* }" | sed 's,/.*,,;s, ,,g') failed=$(echo "$state" | sed 's,.*/,,;s, ,,g')
  [ "${failed:-0}" = 0 ] || { echo "gather.sh: $failed of $wanted workers failed; kubectl logs -l job-name=lab shows why" >&2; exit 1; }
  [ "${succeeded:-0}" = "$wanted" ] && break
  echo "gather.sh: ${succeeded:-0} of $wanted workers are done" >&2
  sleep 5
done
logs=$(ask "$@" logs --selector job-name=lab --tail=-1 --max-log-requests=1000) || exit 1
tokens=$(printf '%s\n' "$logs" | sed -n 's/^found //p' | sort -u)
printf '%s\n' "$logs" | awk '$1 == "done" { ++workers; runs += $2; violations += $3 }
  END { printf "%d workers, %d runs, %d violations\n", workers, runs, violations }' >&2
[ -z "$tokens" ] && exit 0
printf '%s\n' "$tokens"
exit 2
